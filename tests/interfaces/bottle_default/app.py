# target: app:app -> wsgi
# evidence: default_app() at app.py:5
from bottle import default_app, route

app = default_app()
