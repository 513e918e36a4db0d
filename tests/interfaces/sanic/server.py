# target: server:app -> asgi
# evidence: Sanic() at server.py:5
from sanic import Sanic

app = Sanic("hello")
