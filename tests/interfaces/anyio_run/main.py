# target: main:app -> asgi
# evidence: Starlette() at main.py:8
import anyio
from starlette.applications import Starlette


async def connected():
    return Starlette()


async def build():
    app = await connected()
    return app


app = anyio.run(build)
