# target: app:app -> asgi
# evidence: Dash(ASGI) at app.py:6
import dash
from fastapi import FastAPI

app = dash.Dash(__name__, server=FastAPI())
