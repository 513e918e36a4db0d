# target: server:app -> asgi
# evidence: FastMCP().sse_app()
from fastmcp.server.server import FastMCP


class Tools(FastMCP):
    pass


app = Tools("x").sse_app()
