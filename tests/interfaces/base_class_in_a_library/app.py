# target: app:application -> wsgi
# evidence: class Website with def wsgi_app(self, environ, start_response)
from website import Website


class Site(Website):
    pass


application = Site()
