# target: server:application -> wsgi
# evidence: Flask() at shop/main.py:3
import shop.main

application = shop.main.app
