# target: app:application -> wsgi
# evidence: class AbstractApp with def __call__(self, environ, start_response)
import connexion

application = connexion.FlaskApp(__name__)
