"""The plain applications in a process of COMPARE_APP_MIB."""

import os
import resource
from pathlib import Path

from plain import asgi_app as plain_asgi_app
from plain import wsgi_app as plain_wsgi_app


def missing_bytes():
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    wanted = int(os.environ["COMPARE_APP_MIB"]) * 2**20
    return max(0, wanted - resident_pages * resource.getpagesize())


# Not b"\0": what is never written takes no memory.
ballast = b"x" * missing_bytes()


async def asgi_app(scope, receive, send):
    await plain_asgi_app(scope, receive, send)


def wsgi_app(environ, start_response):
    return plain_wsgi_app(environ, start_response)
