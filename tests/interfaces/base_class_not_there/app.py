# target: app:application -> unknown
# evidence: class Site at app.py:6 has no __call__ that tells
from library_that_is_not_there import Website


class Site(Website):
    pass


application = Site()
