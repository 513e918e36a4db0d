# target: app:app -> unknown
# evidence: no module 'nowhere' on the path
from fastapi import FastAPI
from nowhere import WsgiToSomething

app = WsgiToSomething(FastAPI())
