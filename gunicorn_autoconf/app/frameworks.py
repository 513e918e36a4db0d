"""
Which interface the applications of known frameworks speak, as a literal table. Pure.

A key is how a module arrives at the application, by qualified names and not by local aliases:
``flask.Flask()`` is what calling ``flask.Flask`` gives, ``dash.Dash().server`` an attribute of
that, ``cherrypy.tree`` the object itself. Each was checked against the framework's own code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.worker_classes import Interface

_ASGI = Interface.ASGI
_WSGI = Interface.WSGI

FRAMEWORKS: Mapping[str, Interface] = {
    "a2wsgi.ASGIMiddleware()": _WSGI,
    "a2wsgi.WSGIMiddleware()": _ASGI,
    "apiflask.APIFlask()": _WSGI,
    "ariadne.asgi.GraphQL()": _ASGI,
    "ariadne.wsgi.GraphQL()": _WSGI,
    "asgi_correlation_id.CorrelationIdMiddleware()": _ASGI,
    "asgi_tools.App()": _ASGI,
    "asgiref.typing.ASGI3Application()": _ASGI,
    "asgiref.typing.ASGIApplication()": _ASGI,
    "asgiref.wsgi.WsgiToAsgi()": _ASGI,
    "blacksheep.Application()": _ASGI,
    "bobo.Application()": _WSGI,
    "bottle.Bottle()": _WSGI,
    "bottle.app()": _WSGI,
    "bottle.default_app()": _WSGI,
    "channels.routing.ProtocolTypeRouter()": _ASGI,
    "channels.routing.URLRouter()": _ASGI,
    "cherrypy.Application()": _WSGI,
    "cherrypy.tree": _WSGI,
    "cherrypy.tree.mount()": _WSGI,
    "connexion.App().app": _WSGI,
    "connexion.AsyncApp()": _ASGI,
    "connexion.ConnexionMiddleware()": _ASGI,
    "connexion.FlaskApp().app": _WSGI,
    "dash.Dash()": _WSGI,
    "dash.Dash(ASGI)": _ASGI,
    "dash.Dash(ASGI).server": _ASGI,
    "dash.Dash().server": _WSGI,
    "django.contrib.staticfiles.handlers.ASGIStaticFilesHandler()": _ASGI,
    "django.contrib.staticfiles.handlers.StaticFilesHandler()": _WSGI,
    "django.core.asgi.get_asgi_application()": _ASGI,
    "django.core.handlers.asgi.ASGIHandler()": _ASGI,
    "django.core.handlers.wsgi.WSGIHandler()": _WSGI,
    "django.core.wsgi.get_wsgi_application()": _WSGI,
    "emmett.App()": _ASGI,
    "engineio.ASGIApp()": _ASGI,
    "engineio.WSGIApp()": _WSGI,
    "esmerald.ChildEsmerald()": _ASGI,
    "esmerald.Esmerald()": _ASGI,
    "falcon.API()": _WSGI,
    "falcon.App()": _WSGI,
    "falcon.asgi.App()": _ASGI,
    "fastapi.FastAPI()": _ASGI,
    "fastapi.middleware.wsgi.WSGIMiddleware()": _ASGI,
    "fastmcp.FastMCP().http_app()": _ASGI,
    "fastmcp.FastMCP().sse_app()": _ASGI,
    "fastmcp.FastMCP().streamable_http_app()": _ASGI,
    "fastmcp.FastMCP.as_proxy().http_app()": _ASGI,
    "fastmcp.FastMCP.from_fastapi().http_app()": _ASGI,
    "fastmcp.FastMCP.from_openapi().http_app()": _ASGI,
    "flask.Flask()": _WSGI,
    "flask.Flask().wsgi_app": _WSGI,
    "flask_openapi3.OpenAPI()": _WSGI,
    "gradio.mount_gradio_app()": _ASGI,
    "gradio.routes.mount_gradio_app()": _ASGI,
    "hug.API().http.server()": _WSGI,
    "hug.__hug_wsgi__": _WSGI,
    "hypercorn.middleware.AsyncioWSGIMiddleware()": _ASGI,
    "hypercorn.middleware.TrioWSGIMiddleware()": _ASGI,
    "lilya.apps.Lilya()": _ASGI,
    "litestar.Litestar()": _ASGI,
    "litestar.types.ASGIApp()": _ASGI,
    "mcp.server.MCPServer().sse_app()": _ASGI,
    "mcp.server.MCPServer().streamable_http_app()": _ASGI,
    "mcp.server.fastmcp.FastMCP().sse_app()": _ASGI,
    "mcp.server.fastmcp.FastMCP().streamable_http_app()": _ASGI,
    "muffin.Application()": _ASGI,
    "nicegui.App()": _ASGI,
    "nicegui.app": _ASGI,
    "opentelemetry.instrumentation.asgi.OpenTelemetryMiddleware()": _ASGI,
    "opentelemetry.instrumentation.wsgi.OpenTelemetryMiddleware()": _WSGI,
    "paste.deploy.loadapp()": _WSGI,
    "prometheus_client.make_asgi_app()": _ASGI,
    "prometheus_client.make_wsgi_app()": _WSGI,
    "pyramid.config.Configurator().make_wsgi_app()": _WSGI,
    "pyramid.paster.get_app()": _WSGI,
    "pyramid.router.Router()": _WSGI,
    "quart.Quart()": _ASGI,
    "quart.Quart().asgi_app": _ASGI,
    "ravyn.ChildRavyn()": _ASGI,
    "ravyn.Ravyn()": _ASGI,
    "responder.API()": _ASGI,
    "sanic.Sanic()": _ASGI,
    "sentry_sdk.integrations.asgi.SentryAsgiMiddleware()": _ASGI,
    "sentry_sdk.integrations.wsgi.SentryWsgiMiddleware()": _WSGI,
    "socketio.ASGIApp()": _ASGI,
    "socketio.Middleware()": _WSGI,
    "socketio.WSGIApp()": _WSGI,
    "spyne.server.wsgi.WsgiApplication()": _WSGI,
    "starlette.applications.Starlette()": _ASGI,
    "starlette.middleware.cors.CORSMiddleware()": _ASGI,
    "starlette.middleware.wsgi.WSGIMiddleware()": _ASGI,
    "starlette.routing.Router()": _ASGI,
    "starlette.types.ASGIApp()": _ASGI,
    "starlite.Starlite()": _ASGI,
    "strawberry.asgi.GraphQL()": _ASGI,
    "_typeshed.wsgi.WSGIApplication()": _WSGI,
    "uvicorn.middleware.proxy_headers.ProxyHeadersMiddleware()": _ASGI,
    "uvicorn.middleware.wsgi.WSGIMiddleware()": _ASGI,
    "web.application().wsgifunc()": _WSGI,
    "webob.dec.wsgify()": _WSGI,
    "werkzeug.Request.application()": _WSGI,
    "werkzeug.debug.DebuggedApplication()": _WSGI,
    "werkzeug.middleware.dispatcher.DispatcherMiddleware()": _WSGI,
    "werkzeug.middleware.proxy_fix.ProxyFix()": _WSGI,
    "werkzeug.middleware.shared_data.SharedDataMiddleware()": _WSGI,
    "werkzeug.wrappers.Request.application()": _WSGI,
    "whitenoise.WhiteNoise()": _WSGI,
    "wsgiref.simple_server.demo_app": _WSGI,
    "wsgiref.types.WSGIApplication()": _WSGI,
}


class Neither(NamedTuple):
    """A framework of its own kind, and the worker class that serves it under Gunicorn, if any."""

    name: str
    worker_class: str | None


_AIOHTTP = Neither("aiohttp", "aiohttp.GunicornWebWorker")
_TORNADO = Neither("Tornado", "tornado")

# "tornado" is an alias of Gunicorn's own, "aiohttp.GunicornWebWorker" comes with aiohttp.
NEITHER: Mapping[str, Neither] = {
    "aiohttp.web.Application()": _AIOHTTP,
    "aiohttp.web_app.Application()": _AIOHTTP,
    "robyn.Robyn()": Neither("Robyn", None),
    "tornado.web.Application()": _TORNADO,
    "tornado.wsgi.WSGIContainer()": _TORNADO,
}

# The one worker class that awaits a coroutine function to get the application.
AWAITING = _AIOHTTP.worker_class

# Of these the installed release decides; its source is read where it is at hand.
BY_VERSION: Mapping[str, str] = {
    "connexion.App()": "Connexion 2 is WSGI, Connexion 3 is ASGI",
    "connexion.FlaskApp()": "Connexion 2 is WSGI, Connexion 3 is ASGI",
}

# Django runs the synchronous part of each request in a thread that it makes for that request.
OWN_THREADS = frozenset(
    {
        "django.contrib.staticfiles.handlers.ASGIStaticFilesHandler()",
        "django.core.asgi.get_asgi_application()",
        "django.core.handlers.asgi.ASGIHandler()",
    }
)


def _prefixes(path: str) -> Iterator[str]:
    for end, character in enumerate(path):
        if character == "." or path.startswith("()", end):
            yield path[:end]
    yield path


# Everything that may still become one of the keys: "flask", "flask.Flask", "dash.Dash()" ...
ON_THE_WAY: frozenset[str] = frozenset(
    prefix for path in (*FRAMEWORKS, *NEITHER, *BY_VERSION) for prefix in _prefixes(path)
)


def known_path(path: str) -> str | None:
    """
    Return *path* as the table has it, or None where it leads to nothing there.

    A class counts as the package's own, whichever of its modules it is taken from.

    >>> known_path("blacksheep.server.application.Application")
    'blacksheep.Application'
    """
    *inner, name = path.split(".")
    while path not in ON_THE_WAY:
        if len(inner) < 2 or not name[:1].isupper():
            return None
        inner.pop()
        path = ".".join([*inner, name])
    return path


def listed(path: str, shown: str) -> Finding | None:
    """Return what the table says of the object at *path*, which people see as *shown*."""
    if path in FRAMEWORKS:
        own_threads = path in OWN_THREADS
        return Finding(interface=FRAMEWORKS[path], evidence=shown, makes_own_threads=own_threads)
    if path in BY_VERSION:
        evidence = f"{shown}: {BY_VERSION[path]}"
        return Finding(interface=None, evidence=evidence, depends_on_version=True)
    if path in NEITHER:
        name, worker_class = NEITHER[path]
        served = f"worker class {worker_class} serves it" if worker_class else "it serves itself"
        evidence = f"{shown}: {name} speaks neither ASGI nor WSGI, {served}"
        return Finding(
            interface=None, evidence=evidence, is_neither=True, worker_class=worker_class
        )
    return None
