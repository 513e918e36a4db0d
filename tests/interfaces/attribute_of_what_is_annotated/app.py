# target: app:app -> unknown
# evidence: no module 'nowhere' on the path
# What is annotated is the server, not what is in it.
from nowhere import build
from starlette.types import ASGIApp


class Server:
    def __init__(self):
        self.inner: ASGIApp = build()
        self.app = self.inner.app


app = Server().app
