# target: app:app -> wsgi
# evidence: mount() at app.py:5
import cherrypy

app = cherrypy.tree.mount(object(), "/")
