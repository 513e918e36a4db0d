# target: asgi:application -> wsgi
# evidence: get_wsgi_application() at asgi.py:5
import django.core.wsgi

application = django.core.wsgi.get_wsgi_application()
