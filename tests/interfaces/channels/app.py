# target: app:application -> asgi
# evidence: ProtocolTypeRouter() at app.py:6
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

application = ProtocolTypeRouter({"http": get_asgi_application()})
