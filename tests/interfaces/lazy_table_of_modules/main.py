# target: main:app -> unknown
# evidence: toolbox.service cannot be found
# ASGI when it runs: a table of lazy exports is not read.
from toolbox import service as app
