# -*- coding: latin-1 -*-
# target: app:app -> wsgi
# evidence: Flask() at app.py:6
from flask import Flask

app = Flask("café")
