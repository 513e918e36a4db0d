# target: main:app -> asgi
# evidence: FastAPI() at main.py:6
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

app = FastAPI()
app.add_middleware(GZipMiddleware)
app.title = "x"
