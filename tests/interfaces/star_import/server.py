# target: server:app -> asgi
# evidence: FastAPI() at base.py:3
from base import *

debug = True
