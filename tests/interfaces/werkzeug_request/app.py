# target: app:app -> unknown
# evidence: def app(request) at app.py:8 could be either
# WSGI when it runs: what a decorator makes of a function is not followed.
from werkzeug.wrappers import Request, Response


@Request.application
def app(request):
    return Response("")
