# target: api:api -> wsgi
# evidence: API() at api.py:5
import falcon

api = application = falcon.API()
