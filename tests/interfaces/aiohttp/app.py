# target: app:app -> neither
# evidence: aiohttp speaks neither ASGI nor WSGI, worker class aiohttp.GunicornWebWorker serves it
from aiohttp import web

app = web.Application()
