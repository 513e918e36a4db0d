# target: server:app -> asgi
from esmerald import Esmerald

app = Esmerald(routes=[])
