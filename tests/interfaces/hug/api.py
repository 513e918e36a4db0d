# target: api:__hug_wsgi__ -> wsgi
# evidence: __hug_wsgi__
import hug


@hug.get()
def home():
    return ""
