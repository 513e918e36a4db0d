# target: shop.server:app -> asgi
# evidence: Quart() at shop/main.py:3
from . import main as m

app = m.api
