# target: app:app -> wsgi
# evidence: Bottle() at app.py:5
import bottle

app = bottle.Bottle()
