"""
Which interface the applications of known frameworks speak, as a literal table. Pure.

A key is how a module arrives at the application, by qualified names and not by local aliases:
``flask.Flask()`` is what calling ``flask.Flask`` gives, ``dash.Dash().server`` an attribute of
that, ``cherrypy.tree`` the object itself. Each was checked against the framework's own code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    "blacksheep.server.Application()": _ASGI,
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
    "connexion.FlaskApp().app": _WSGI,
    "dash.Dash()": _WSGI,
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
    "fastapi.applications.FastAPI()": _ASGI,
    "fastapi.middleware.wsgi.WSGIMiddleware()": _ASGI,
    "flask.Flask()": _WSGI,
    "flask.Flask().wsgi_app": _WSGI,
    "flask.app.Flask()": _WSGI,
    "flask_openapi3.OpenAPI()": _WSGI,
    "gradio.mount_gradio_app()": _ASGI,
    "gradio.routes.mount_gradio_app()": _ASGI,
    "hug.API().http.server()": _WSGI,
    "hug.__hug_wsgi__": _WSGI,
    "hypercorn.middleware.AsyncioWSGIMiddleware()": _ASGI,
    "hypercorn.middleware.TrioWSGIMiddleware()": _ASGI,
    "lilya.apps.Lilya()": _ASGI,
    "litestar.Litestar()": _ASGI,
    "litestar.app.Litestar()": _ASGI,
    "litestar.types.ASGIApp()": _ASGI,
    "muffin.Application()": _ASGI,
    "nicegui.App()": _ASGI,
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
    "quart.app.Quart()": _ASGI,
    "ravyn.ChildRavyn()": _ASGI,
    "ravyn.Ravyn()": _ASGI,
    "responder.API()": _ASGI,
    "sanic.Sanic()": _ASGI,
    "sanic.app.Sanic()": _ASGI,
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

NEITHER: Mapping[str, str] = {
    "aiohttp.web.Application()": "aiohttp speaks neither and needs its own worker class",
    "robyn.Robyn()": "Robyn speaks neither and runs its own server",
    "tornado.web.Application()": "Tornado speaks neither and needs its own worker class",
    "tornado.wsgi.WSGIContainer()": "Tornado speaks neither and needs its own worker class",
}


def _prefixes(path: str) -> Iterator[str]:
    for end, character in enumerate(path):
        if character == "." or path.startswith("()", end):
            yield path[:end]
    yield path


# Everything that may still become one of the keys: "flask", "flask.Flask", "dash.Dash()" ...
ON_THE_WAY: frozenset[str] = frozenset(
    prefix for path in (*FRAMEWORKS, *NEITHER) for prefix in _prefixes(path)
)
