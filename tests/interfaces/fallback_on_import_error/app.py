# target: app:app -> asgi
# evidence: FastAPI() at app.py:6
try:
    from fastapi import FastAPI

    app = FastAPI()
except ImportError:
    from flask import Flask

    app = Flask(__name__)
