# target: main:app -> asgi
# evidence: FastAPI() at main.py:6
from fastapi import FastAPI
from flask import Flask

app = FastAPI()

if __name__ == "__main__":
    app = Flask(__name__)
