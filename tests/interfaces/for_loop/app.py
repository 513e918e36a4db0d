# target: app:app -> wsgi
# evidence: Flask() at app.py:6
from flask import Flask
from nowhere import middlewares

app = Flask("x")
for layer in middlewares:
    app = layer(app)
