# target: app:create -> asgi
# evidence: FastAPI() at app.py:13
from fastapi import FastAPI


class Holder:
    def __init__(self, app):
        self.app = app


def create():
    # as stac-fastapi has it
    holder = Holder(FastAPI())
    return holder.app
