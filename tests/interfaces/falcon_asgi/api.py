# target: api:api -> asgi
# evidence: App() at api.py:5
import falcon.asgi

api = falcon.asgi.App()
