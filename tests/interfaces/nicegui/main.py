# target: main:app -> asgi
# evidence: FastAPI() at main.py:6
from fastapi import FastAPI
from nicegui import ui

app = FastAPI()
ui.run_with(app)
