# target: app:create() -> unknown
# evidence: more than 8 steps
def create():
    return create() or create()
