# target: app:app -> asgi
# evidence: class Lifespan with async def __call__
from nowhere import make


class Lifespan:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


app = Lifespan(make())
