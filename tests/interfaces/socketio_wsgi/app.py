# target: app:app -> wsgi
# evidence: WSGIApp() at app.py:8
import flask
import socketio

app = flask.Flask(__name__)
sio = socketio.Server()
app = socketio.WSGIApp(sio, app)
