# target: app:app -> wsgi
# evidence: ASGIMiddleware() at app.py:6
from a2wsgi import ASGIMiddleware
from fastapi import FastAPI

app = ASGIMiddleware(FastAPI())
