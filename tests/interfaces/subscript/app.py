# target: app:app -> unknown
# evidence: apps['main'] at app.py:5
apps = {}

app = apps["main"]
