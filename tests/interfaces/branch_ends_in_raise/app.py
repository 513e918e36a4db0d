# target: app:app -> asgi
import os

from fastapi import FastAPI
from flask import Flask

app = Flask(__name__)
if os.environ.get("DEBUG"):
    app = FastAPI()
else:
    raise SystemExit(1)
