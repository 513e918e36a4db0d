# target: app:app -> wsgi
# evidence: Flask() at app.py:5
from flask import Flask

app = Flask(__name__)


@app.route("/")
def index():
    return ""
