# target: app:app -> wsgi
# evidence: Flask() at app.py:6
from flask import Flask
from nowhere import A, B, C, D, E, F, G, H, I, J

app = Flask(__name__)
app = A(app)
app = B(app)
app = C(app)
app = D(app)
app = E(app)
app = F(app)
app = G(app)
app = H(app)
app = I(app)
app = J(app)
