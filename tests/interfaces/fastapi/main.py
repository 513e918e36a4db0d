# target: main:app -> asgi
# evidence: FastAPI() at main.py:5
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def read_root():
    return {}
