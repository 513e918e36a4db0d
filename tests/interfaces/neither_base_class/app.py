# target: app:app -> neither
# evidence: class Shop(Application) at app.py:6: aiohttp speaks neither ASGI nor WSGI
from aiohttp.web import Application


class Shop(Application):
    """A shop."""


app = Shop()
