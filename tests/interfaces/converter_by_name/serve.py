# target: serve:server -> unknown
# evidence: no module 'nowhere'
from nowhere import WSGIMiddleware, inner

server = WSGIMiddleware(inner)
