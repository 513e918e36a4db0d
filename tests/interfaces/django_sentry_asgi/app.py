# target: app:application -> asgi
# evidence: SentryAsgiMiddleware() at app.py:7
from django.core.asgi import get_asgi_application
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware

application = get_asgi_application()
application = SentryAsgiMiddleware(application)
