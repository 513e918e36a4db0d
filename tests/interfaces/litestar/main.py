# target: main:app -> asgi
# evidence: Litestar() at main.py:5
from litestar import Litestar

app = Litestar([])
