# target: serve:server -> asgi
# evidence: .asgi_app at serve.py:5, by its name
from nowhere import project

server = project.asgi_app
