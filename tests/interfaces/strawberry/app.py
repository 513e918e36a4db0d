# target: app:app -> asgi
from strawberry.asgi import GraphQL

from schema import schema

app = GraphQL(schema)
