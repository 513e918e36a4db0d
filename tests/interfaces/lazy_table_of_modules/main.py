# target: main:app -> asgi
# evidence: Quart() at toolbox/web.py:3
from toolbox import service as app
