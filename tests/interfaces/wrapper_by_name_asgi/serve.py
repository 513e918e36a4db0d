# target: serve:application -> asgi
# evidence: asgi_wrapper() at serve.py:5, by its name
from nowhere import asgi_wrapper, inner

application = asgi_wrapper(inner)
