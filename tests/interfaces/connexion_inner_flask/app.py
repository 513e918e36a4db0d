# target: app:application -> wsgi
# evidence: FlaskApp().app at app.py:6
import connexion

app = connexion.FlaskApp(__name__)
application = app.app
