# target: main:app -> unknown
# evidence: app at main.py:12 is beyond what can be read
# ASGI when it runs: only a plain tuple is taken apart.
from litestar import Litestar


def create():
    app = Litestar([])
    return 1, [app, 2]


number, (app, other) = create()
