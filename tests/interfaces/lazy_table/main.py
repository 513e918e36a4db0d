# target: main:app -> asgi
# evidence: FastAPI() at toolbox/web.py:3
import toolbox

app = toolbox.service
