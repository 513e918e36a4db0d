# target: server:app -> asgi
# evidence: FastMCP().http_app() at server.py:6
from fastmcp import FastMCP

tools = FastMCP("tools")
app = tools.http_app(path="/mcp")
