# target: app:app -> unknown
# evidence: FastAPI() at app.py:9 or Flask() at app.py:11
import os

from fastapi import FastAPI
from flask import Flask

if os.environ.get("ASYNC"):
    app = FastAPI()
else:
    app = Flask(__name__)
