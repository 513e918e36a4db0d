# target: app:app -> wsgi
# evidence: def app(environ, start_response) at app.py:5


def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
