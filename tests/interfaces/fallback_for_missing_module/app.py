# target: app:app -> wsgi
# evidence: Flask() at app.py:8
try:
    from no_such_module import app
except ImportError:
    from flask import Flask

    app = Flask(__name__)
