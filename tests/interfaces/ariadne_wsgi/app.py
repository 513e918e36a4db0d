# target: app:app -> wsgi
from ariadne.wsgi import GraphQL

app = GraphQL(None)
