# target: main:app -> unknown
# evidence: no module 'anyio' on the path
# ASGI when it runs: a runner that is given a function, not a coroutine, is not followed.
import anyio
from starlette.applications import Starlette


async def connected():
    return Starlette()


async def build():
    app = await connected()
    return app


app = anyio.run(build)
