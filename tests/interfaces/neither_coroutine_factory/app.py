# target: app:create -> neither
# evidence: async def create() at app.py:6 gives Application() at app.py:7: aiohttp
from aiohttp import web


async def create():
    app = web.Application()
    return app
