# target: project.prod_asgi:application -> asgi
# evidence: the module is called prod_asgi
from nowhere import build

application = build()
