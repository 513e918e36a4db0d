# target: main:app -> asgi
# evidence: Quart() at main.py:9
import asyncio

from quart import Quart


async def build():
    return Quart(__name__)


app = asyncio.run(build())
