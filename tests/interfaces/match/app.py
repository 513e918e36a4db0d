# target: app:app -> asgi
# evidence: FastAPI() at app.py:9
import os

from fastapi import FastAPI

match os.environ.get("MODE"):
    case "one":
        app = FastAPI()
    case _:
        app = FastAPI(debug=True)
