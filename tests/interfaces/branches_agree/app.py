# target: app:app -> wsgi
import os

from flask import Flask
from nowhere import Debugger

app = Flask(__name__)
if os.environ.get("DEBUG"):
    app = Debugger(app)
