# target: app:app -> wsgi
# evidence: cherrypy.tree
import cherrypy

app = cherrypy.tree
