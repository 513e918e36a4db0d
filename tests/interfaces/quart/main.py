# target: main:app -> asgi
# evidence: Quart() at main.py:5
import quart

app = quart.Quart(__name__)
