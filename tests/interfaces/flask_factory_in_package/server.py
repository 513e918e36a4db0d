# target: server:app -> wsgi
# evidence: Flask() at shop/__init__.py:5
from shop import create_app

app = create_app()
