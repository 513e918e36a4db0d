# target: mysite.asgi:application -> asgi
# evidence: get_asgi_application() at mysite/asgi.py:9
import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django.conf.global_settings")

application = get_asgi_application()
