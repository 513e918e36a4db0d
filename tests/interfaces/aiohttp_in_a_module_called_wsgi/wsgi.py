# target: wsgi:app -> unknown
# evidence: aiohttp.GunicornWebWorker
from aiohttp import web

app = web.Application()
