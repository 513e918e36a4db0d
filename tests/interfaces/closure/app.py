# target: app:app -> asgi
# evidence: async def inner(scope, receive, send) at app.py:6


def make(name):
    async def inner(scope, receive, send):
        await send({"name": name})

    return inner


app = make("x")
