# target: wsgi:app -> neither
# evidence: aiohttp.GunicornWebWorker
from aiohttp import web

app = web.Application()
