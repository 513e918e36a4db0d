# target: app:app -> asgi
# evidence: async def app(scope, receive, send) at app.py:5


async def app(scope, receive, send):
    assert scope["type"] == "http"
