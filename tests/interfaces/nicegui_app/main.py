# target: main:app -> asgi
# evidence: nicegui.app
from nicegui import app, ui

app.on_startup(print)
