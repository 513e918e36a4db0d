# target: app:app -> wsgi
# evidence: class Shop(Flask) at app.py:6
from flask import Flask


class Shop(Flask):
    """A shop."""


app = Shop(__name__)
