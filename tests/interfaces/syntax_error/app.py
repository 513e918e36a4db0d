# target: app:app -> unknown
# evidence: app.py has a syntax error in line 3
app = Flask(
