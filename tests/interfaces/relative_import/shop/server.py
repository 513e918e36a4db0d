# target: shop.server:app -> wsgi
# evidence: Flask() at shop/app.py:3
from .app import application as app
