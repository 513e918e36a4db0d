# target: wsgi:application -> neither
# evidence: worker class tornado
import tornado.web
from nowhere import traced

application = traced(tornado.web.Application([]))
