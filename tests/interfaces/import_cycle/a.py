# target: a:app -> unknown
# evidence: more than 8 steps
from b import app
