# target: app:app -> unknown
# evidence: aiohttp speaks neither and needs its own worker class
from aiohttp import web

app = web.Application()
