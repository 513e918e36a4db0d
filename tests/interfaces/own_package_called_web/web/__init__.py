# target: web:application -> asgi
# evidence: FastAPI() at web/__init__.py:5
from fastapi import FastAPI

application = FastAPI()
