"""The library that metrics for Prometheus need, which is an extra. Looks for a module."""

from __future__ import annotations

from importlib.util import find_spec

LIBRARY = "prometheus_client"
REMEDY = f"{LIBRARY}: pip install 'gunicorn-autoconf[metrics]'"


def is_installed() -> bool:
    """Return whether the library is there."""
    return find_spec(LIBRARY) is not None
