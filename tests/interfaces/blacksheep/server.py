# target: server:app -> asgi
from blacksheep import Application

app = Application()
