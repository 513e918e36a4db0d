# target: app:app -> asgi
# evidence: class App with async def __call__(self, scope, receive, send) at app.py:5


class App:
    def __init__(self, name):
        self.name = name

    async def __call__(self, scope, receive, send):
        await send({})


app = App("x")
