# target: app:server -> wsgi
# evidence: Dash().server at app.py:6
from dash import Dash

app = Dash(__name__)
server = app.server
