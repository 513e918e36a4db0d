# target: trap:app -> asgi
# evidence: FastAPI() at trap.py:9
import pathlib

from fastapi import FastAPI

pathlib.Path(__file__).with_name("was_run").touch()

app = FastAPI()
raise SystemExit("this module was run")
