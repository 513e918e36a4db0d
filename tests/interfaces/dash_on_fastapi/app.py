# target: app:server -> asgi
# evidence: Dash(backend='fastapi') at app.py:5
import dash

app = dash.Dash(__name__, backend="fastapi")
server = app.server
