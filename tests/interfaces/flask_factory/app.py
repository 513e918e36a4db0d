# target: app:create_app() -> wsgi
# evidence: Flask() at app.py:6
import flask

def create_app(settings=None):
    app = flask.Flask(__name__)
    if settings is None:
        return app
    app.config.update(settings)
    return app
