# target: app:app -> unknown
# evidence: WsgiToSomething() at app.py:6
from fastapi import FastAPI
from nowhere import WsgiToSomething

app = WsgiToSomething(FastAPI())
