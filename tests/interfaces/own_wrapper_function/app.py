# target: app:app -> wsgi
# evidence: Flask() at app.py:13
from flask import Flask
from nowhere import Gzip


def wrap(inner, level=9):
    """Return the application in all its layers."""
    inner = Gzip(inner, level)
    return inner


app = wrap(level=1, inner=Flask("x"))
