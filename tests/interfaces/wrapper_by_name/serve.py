# target: serve:application -> wsgi
# evidence: WSGIApplicationWrapper() at serve.py:6, by its name
import newrelic.agent
from erp import application as inner

application = newrelic.agent.WSGIApplicationWrapper(inner)
