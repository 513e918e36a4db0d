# target: app:create_app() -> wsgi
# evidence: annotated WSGIApplication at app.py:7
from wsgiref.types import WSGIApplication

from nowhere import build

def create_app() -> "WSGIApplication":
    return build()
