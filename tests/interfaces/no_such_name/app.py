# target: app:application -> unknown
# evidence: app.application cannot be found
app = None
