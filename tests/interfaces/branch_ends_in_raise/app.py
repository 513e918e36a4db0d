# target: app:app -> unknown
# evidence: FastAPI() at app.py:11 or Flask() at app.py:9
# ASGI when it runs: that one of the branches never ends is not seen.
import os

from fastapi import FastAPI
from flask import Flask

app = Flask(__name__)
if os.environ.get("DEBUG"):
    app = FastAPI()
else:
    raise SystemExit(1)
