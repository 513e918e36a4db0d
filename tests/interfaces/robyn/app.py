# target: app:app -> unknown
# evidence: Robyn speaks neither
from robyn import Robyn

app = Robyn(__file__)
