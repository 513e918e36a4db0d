# target: main:app -> asgi
# evidence: WSGIMiddleware() at main.py:6
from flask import Flask
from starlette.middleware.wsgi import WSGIMiddleware

app = WSGIMiddleware(Flask(__name__))
