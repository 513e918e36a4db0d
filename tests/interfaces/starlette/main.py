# target: main:app -> asgi
# evidence: Starlette() at main.py:5
from starlette.applications import Starlette

app = Starlette(debug=True, routes=[])
