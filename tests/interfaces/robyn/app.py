# target: app:app -> neither
# evidence: Robyn speaks neither
from robyn import Robyn

app = Robyn(__file__)
