# target: app:app -> asgi
# evidence: class AbstractApp with async def __call__(self, scope, receive, send)
import connexion

app = connexion.App(__name__)
