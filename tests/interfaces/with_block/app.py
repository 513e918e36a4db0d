# target: app:app -> asgi
from contextlib import suppress

from starlette.applications import Starlette

app = None
with suppress(ValueError):
    app = Starlette()
