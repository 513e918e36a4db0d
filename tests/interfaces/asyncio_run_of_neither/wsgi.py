# target: wsgi:app -> neither
# evidence: aiohttp.GunicornWebWorker
import asyncio

from aiohttp import web


async def build():
    return web.Application()


app = asyncio.run(build())
