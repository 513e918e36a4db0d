# target: main:asgi_app -> asgi
# evidence: it is called asgi_app
from nowhere import asgi_app
