# target: app:App -> unknown
# evidence: is no application itself
# ASGI 2 when it runs: a class that the server itself instantiates is not read.


class App:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await send({})
