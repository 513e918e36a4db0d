"""
Run your own server hooks beside ours: `compose`.

The hooks themselves are in `server.hooks`; they come with the settings that `autoconf` returns.
"""

from gunicorn_autoconf.server.compose import compose

__all__ = ["compose"]
