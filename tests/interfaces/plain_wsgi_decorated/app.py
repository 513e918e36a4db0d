# target: app:app -> wsgi
# evidence: def app(environ, start_response) at app.py:7
from nowhere import traced


@traced("app")
def app(environ, start_response):
    return [b""]
