# target: main:app -> wsgi
# evidence: Flask() at main.py:10
import asyncio

from flask import Flask


async def build(name):
    await asyncio.sleep(0)
    return Flask(name)


loop = asyncio.new_event_loop()
app = loop.run_until_complete(build("shop"))
