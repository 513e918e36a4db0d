# target: app:app -> unknown
# evidence: Application() at app.py:9: aiohttp speaks neither
import os

from aiohttp import web
from flask import Flask

if os.environ.get("ASYNC"):
    app = web.Application()
else:
    app = Flask("x")
