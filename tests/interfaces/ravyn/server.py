# target: server:app -> asgi
from ravyn import Ravyn

app = Ravyn(routes=[])
