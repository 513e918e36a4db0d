# target: main:app -> asgi
# evidence: Starlette() at toolbox/server.py:6
from toolbox import Server

app = Server().http()
