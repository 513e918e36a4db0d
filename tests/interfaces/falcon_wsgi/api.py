# target: api:api -> wsgi
# evidence: App() at api.py:5
import falcon

api = falcon.App()
