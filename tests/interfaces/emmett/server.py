# target: server:app -> asgi
from emmett import App

app = App(__name__)
