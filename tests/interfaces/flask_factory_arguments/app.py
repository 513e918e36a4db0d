# target: app:create_app('production', debug=False) -> wsgi
# evidence: Flask() at app.py:5
from flask import Flask

def build(): return Flask(__name__)

def create_app(name, debug=True):
    return build()
