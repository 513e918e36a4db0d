# target: main:app -> asgi
# evidence: App() at main.py:5
import falcon.asgi.app

app = falcon.asgi.app.App()
