# target: app:app -> unknown
# evidence: leads out of its package
from .. import app
