# target: wsgi:create() -> neither
# evidence: annotated web.Application at wsgi.py:7
from aiohttp import web
from nowhere import build


def create() -> web.Application:
    return build()
