# target: app:app -> unknown
# evidence: globals()['api'] at app.py:7


def create_app():
    # nobody can tell
    return globals()["api"]


app = create_app()
