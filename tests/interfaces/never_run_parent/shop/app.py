# target: shop.app:app -> wsgi
# evidence: Flask() at shop/app.py:5
from flask import Flask

app = Flask(__name__)
