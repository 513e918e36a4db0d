"""The line of a worker that can serve, and how the memory log writes sizes. Pure."""

from __future__ import annotations

from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.units import MIB


def render_boot(pid: int, what: str, seconds: float | None, memory: ProcessMemory) -> str:
    """Return the line of a worker that can serve: it has *what*, "booted" or "ready"."""
    took = f" in {seconds:.2f} s" if seconds is not None else ""
    sizes = {"rss": memory.rss_bytes, "pss": memory.pss_bytes, "uss": memory.uss_bytes}
    return f"gunicorn-autoconf: worker {pid} {what}{took}: {pairs(sizes)}"


def pairs(sizes: dict[str, int | None]) -> str:
    """Return *sizes* in bytes as ``name=size``, without those that are unknown."""
    return " ".join(f"{name}={in_mib(size)}" for name, size in sizes.items() if size is not None)


def in_mib(size_bytes: int) -> str:
    """
    Return a size as the memory log writes it.

    >>> in_mib(1_572_864)
    '1.5MiB'
    """
    return f"{size_bytes / MIB:.1f}MiB"
