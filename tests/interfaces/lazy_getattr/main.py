# target: main:app -> wsgi
# evidence: Flask() at toolbox/server.py:3
from toolbox import site as app
