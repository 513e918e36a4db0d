# target: main:app -> asgi
from starlite import Starlite

app = Starlite(route_handlers=[])
