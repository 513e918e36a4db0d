# target: server:app -> asgi
# evidence: FastMCP().streamable_http_app() at server.py:6
from mcp.server.fastmcp import FastMCP

tools = FastMCP("tools")
app = tools.streamable_http_app()
