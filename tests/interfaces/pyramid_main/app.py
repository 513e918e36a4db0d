# target: app:main({}) -> wsgi
# evidence: Configurator().make_wsgi_app() at app.py:8
from pyramid.config import Configurator


def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        return config.make_wsgi_app()
