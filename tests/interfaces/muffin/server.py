# target: server:app -> asgi
import muffin

app = muffin.Application("example")
