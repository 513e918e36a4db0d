# target: asgi:app -> wsgi
# evidence: App() at asgi.py:5
from falcon.app import App

app = App()
