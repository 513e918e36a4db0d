# target: api:app -> wsgi
# evidence: API().http.server() at api.py:5
import hug

app = hug.API(__name__).http.server()
