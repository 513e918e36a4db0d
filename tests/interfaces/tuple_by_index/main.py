# target: main:app -> asgi
# evidence: FastAPI() at main.py:8
import socketio
from fastapi import FastAPI


def create():
    return FastAPI(), socketio.AsyncServer()


app = create()[0]
