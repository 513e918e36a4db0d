# target: asgi_to_wsgi:application -> unknown
from nowhere import build

application = build()
