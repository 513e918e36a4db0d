# target: serve:server -> wsgi
# evidence: make_wsgi_app() at serve.py:5, by its name
from nowhere import make_wsgi_app

server = make_wsgi_app(settings="production")
