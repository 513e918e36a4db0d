# target: app:app -> unknown
# evidence: def app(event, context) at app.py:4 could be either

def app(event, context):
    return event["x"]
