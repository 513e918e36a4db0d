# target: app:app -> wsgi
# evidence: WSGIHandler() at app.py:5
from django.core.handlers.wsgi import WSGIHandler

app = WSGIHandler()
