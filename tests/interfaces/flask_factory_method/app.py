# target: app:app -> wsgi
# evidence: Flask() at app.py:8
from flask import Flask


class Server:
    def __init__(self):
        self._app = Flask(__name__)

    @property
    def app(self):
        return self._app

    @classmethod
    def build(cls):
        return cls()


app = Server.build().app
