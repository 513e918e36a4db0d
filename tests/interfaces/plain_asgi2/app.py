# target: app:app -> asgi
# evidence: def app(scope)


def app(scope):
    async def instance(receive, send):
        await send({})

    return instance
