# target: wsgi:create -> neither
# evidence: worker class aiohttp.GunicornWebWorker
from aiohttp import web


async def build() -> web.Application:
    return web.Application()


async def create():
    return await build()
