# target: main:app -> asgi
# evidence: ConnexionMiddleware() at main.py:6
import connexion
from flask import Flask

app = connexion.ConnexionMiddleware(Flask("x"))
