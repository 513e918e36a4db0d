# target: server:app -> asgi
# evidence: MCPServer().sse_app() at server.py:5
from mcp.server.mcpserver.server import MCPServer

app = MCPServer("tools").sse_app()
