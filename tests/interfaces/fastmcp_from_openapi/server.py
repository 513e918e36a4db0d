# target: server:app -> asgi
# evidence: from_openapi().http_app() at server.py:5
import fastmcp

app = fastmcp.FastMCP.from_openapi({}, name="x").http_app()
