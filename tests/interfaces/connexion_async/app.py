# target: app:app -> asgi
from connexion import AsyncApp

app = AsyncApp(__name__)
