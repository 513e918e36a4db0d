"""A view of a server as something that rich can print. Needs rich."""

from __future__ import annotations

from rich.console import Group, RenderableType

from gunicorn_autoconf.cli.top.head import draw_head, line_of
from gunicorn_autoconf.cli.top.order import Order
from gunicorn_autoconf.cli.top.table import draw_table
from gunicorn_autoconf.cli.top.view import View

KEYS = "? keys  m memory  c CPU  b busy  r reverse  q quit"

# All keys, as `?` shows them.
HELP = (
    ("m", "sort by memory, the most first"),
    ("c", "sort by CPU"),
    ("b", "sort by BUSY, the share of a worker's slots that serve a request"),
    ("s", "sort by requests served in a second"),
    ("l", "sort by latency, how long a request takes"),
    ("g", "sort by growth"),
    ("a", "sort by age, the oldest first"),
    ("p", "sort by pid"),
    ("r", "reverse the order"),
    ("?", "show or hide this page"),
    ("q", "quit"),
)


def draw_once(view: View, width: int) -> RenderableType:
    """Return the summary of *view* and all its workers, for a page *width* columns wide."""
    order = Order()
    return Group(*draw_head(view, width), draw_table(view, order.apply(view.workers), order, width))


def draw_screen(
    view: View, order: Order, width: int, height: int, *, shows_help: bool = False
) -> RenderableType:
    """
    Return *view*, or the page of keys, for a terminal of *width* columns and *height* lines.

    When not all workers fit, the last line of the table says how many are missing.
    """
    head = list(draw_head(view, width))
    by = f"   by {order.column}{', reversed' * order.reverse}"
    keys = (line_of(), line_of((KEYS, "bold"), (by, "dim")))
    if shows_help:
        page = [line_of((f"  {key}  ", "bold"), text) for key, text in HELP]
        return Group(*head[: max(height - len(page) - len(keys), 0)], *page, *keys)
    rows = order.apply(view.workers)
    # Three more lines are needed: the titles of the table, an empty line and the keys.
    room = max(height - len(head) - 3, 1)
    hidden = len(rows) - room + 1 if len(rows) > room else 0
    return Group(
        *head,
        draw_table(view, rows[: len(rows) - hidden], order, width),
        *([line_of((f"... and {hidden} more", "dim"))] if hidden else []),
        *keys,
    )
