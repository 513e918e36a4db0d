# target: main:create_app -> asgi
# evidence: FastAPI() at main.py:8
from fastapi import FastAPI


def create_app():
    """Uvicorn calls a factory that is named without parentheses."""
    app = FastAPI()

    @app.get("/")
    def read_root():
        return {}

    return app
