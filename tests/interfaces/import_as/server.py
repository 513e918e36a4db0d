# target: server:application -> wsgi
# evidence: Flask() at shop/core/main.py:3
import shop.core.main as z

app = z.app
application = app
