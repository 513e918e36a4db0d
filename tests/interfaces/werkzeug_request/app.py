# target: app:app -> wsgi
# evidence: @Request.application at app.py:6
from werkzeug.wrappers import Request, Response


@Request.application
def app(request):
    return Response("")
