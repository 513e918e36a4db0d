# target: wsgi:application -> unknown
# evidence: App() at wsgi.py:6: Connexion 2 is WSGI, Connexion 3 is ASGI
# The module's name proves nothing: version 3 is often served from a wsgi.py, too.
from connexion import App

application = App(__name__)
