# target: main:app -> asgi
# evidence: Litestar() at main.py:7
from litestar import Litestar


def create():
    app = Litestar([])
    return 1, [app, 2]


number, (app, other) = create()
