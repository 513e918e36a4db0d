# target: mysite.wsgi -> wsgi
# evidence: get_wsgi_application() at mysite/wsgi.py:9
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django.conf.global_settings")

application = get_wsgi_application()
