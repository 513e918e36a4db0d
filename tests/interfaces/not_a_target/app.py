# target: app:create().x -> unknown
# evidence: is neither a name nor a call
create = None
