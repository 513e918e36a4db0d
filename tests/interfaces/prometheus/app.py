# target: app:app -> wsgi
from prometheus_client import make_wsgi_app

app = make_wsgi_app()
