# target: code:application -> wsgi
# evidence: application().wsgifunc() at code.py:6
import web

app = web.application(("/", "index"), globals())
application = app.wsgifunc()
