"""How the parts of the watchdog log: a level, a text and fields for the record. Pure."""

from __future__ import annotations

from collections.abc import Callable

INFO, WARNING, ERROR = "info", "warning", "error"

Say = Callable[[str, str, dict[str, object]], None]
