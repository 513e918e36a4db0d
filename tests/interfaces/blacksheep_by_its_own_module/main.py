# target: main:app -> asgi
# evidence: Application() at main.py:5
from blacksheep.server.application import Application

app = Application()
