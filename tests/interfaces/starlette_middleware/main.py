# target: main:application -> asgi
# evidence: Starlette() at main.py:6
from starlette.applications import Starlette
from nowhere.middleware import Compress, Trace

application = Compress(Trace(app=Starlette()), level=9)
