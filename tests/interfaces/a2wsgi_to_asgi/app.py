# target: app:app -> asgi
# evidence: WSGIMiddleware() at app.py:6
from a2wsgi import WSGIMiddleware
from flask import Flask

app = WSGIMiddleware(Flask(__name__))
