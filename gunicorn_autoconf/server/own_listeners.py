"""Whether a worker that ends loses connections. Reads the arbiter's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gunicorn_autoconf.worker_classes import family_of

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter


def loses_connections(server: Arbiter) -> bool:
    """Return whether each worker has a listener of its own and leaves there what waits."""
    family = family_of(server.worker_class)
    return bool(server.cfg.reuse_port) and not (family and family.empties_queue)
