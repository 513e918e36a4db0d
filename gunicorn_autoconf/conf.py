"""The module door: ``gunicorn -c python:gunicorn_autoconf.conf app:app``, or star-imported.

Holds Gunicorn's settings and nothing else, since Gunicorn takes every name here that it knows.
"""

from gunicorn_autoconf import autoconf as _autoconf

globals().update(_autoconf().settings)
