# target: main:app -> unknown
# evidence: app at main.py:5
from fastapi import FastAPI

*others, app = FastAPI, FastAPI()
