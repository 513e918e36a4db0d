# target: app:app -> wsgi
# evidence: Configurator().make_wsgi_app() at app.py:7
from pyramid.config import Configurator

config = Configurator()
config.add_route("home", "/")
app = config.make_wsgi_app()
