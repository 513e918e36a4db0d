# target: wsgi:app -> unknown
# evidence: needs its own worker class
from aiohttp import web

app = web.Application()
