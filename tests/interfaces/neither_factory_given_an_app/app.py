# target: app:site -> neither
# evidence: aiohttp.GunicornWebWorker
from aiohttp import web
from flask import Flask


def serve(inner):
    server = web.Application()
    server["inner"] = inner
    return server


site = serve(Flask("x"))
