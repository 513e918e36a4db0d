# target: app:app -> asgi
from ariadne.asgi import GraphQL

app = GraphQL(None)
