# target: main:app -> asgi
# evidence: annotated FastAPI at main.py:7
from fastapi import FastAPI

from elsewhere import make

app: FastAPI = make()
