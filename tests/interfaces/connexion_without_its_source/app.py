# target: app:app -> unknown
# evidence: App() at app.py:6
# Version 2 is WSGI, version 3 is ASGI.
import connexion

app = connexion.App(__name__)
