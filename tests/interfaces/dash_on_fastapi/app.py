# target: app:server -> asgi
# evidence: Dash(ASGI).server at app.py:6
import dash

app = dash.Dash(__name__, backend="fastapi")
server = app.server
