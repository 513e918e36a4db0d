# target: asgi:app -> neither
# evidence: worker class tornado
from shop import Shop

app = Shop()
