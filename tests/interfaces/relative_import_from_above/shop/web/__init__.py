# target: shop.web:app -> asgi
# evidence: FastAPI() at shop/core.py:3
from ..core import app
