# target: app:app -> asgi
# evidence: ASGIApp() at app.py:6
import socketio

sio = socketio.AsyncServer(async_mode="asgi")
app = socketio.ASGIApp(sio)
