# target: main:app -> wsgi
# evidence: Flask() at main.py:10
from flask import Flask


def prepare(make):
    return "settings", make()


_, app = prepare(lambda: Flask("x"))
