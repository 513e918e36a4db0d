"""What is used beside the workers under the limit that leaves least. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gunicorn_autoconf.machine.facts import MemoryLimit, MemorySupply

# Less of the limit than this is not told.
SHOWN_FRACTION = 0.1


class Beside(NamedTuple):
    """What is used beside the workers under the limit that leaves least."""

    others_bytes: int
    """By other processes than ours."""
    shared_bytes: int
    """In shared memory, the workers' own included."""
    cache_bytes: int
    """By page cache, which the kernel frees when it is needed."""

    def worth_showing(self, limit_bytes: int) -> dict[str, int]:
        """Return, by name, what is a good part of the limit."""
        sizes = zip(("others", "shared", "cache"), self, strict=True)
        return {name: size for name, size in sizes if is_worth_showing(size, limit_bytes)}


def is_worth_showing(size_bytes: int, limit_bytes: int) -> bool:
    """Whether what is used beside the workers is a good part of the limit."""
    return size_bytes >= limit_bytes * SHOWN_FRACTION


def beside_workers(memory: MemorySupply) -> Beside | None:
    """Return what is used beside the workers; None without a limit."""

    def used_fraction(level: MemoryLimit) -> float:
        return (level.in_use_bytes or 0) / max(level.limit_bytes, 1)

    level = max(memory.limits, key=used_fraction, default=None)
    if level is None:
        return None
    others_bytes = (level.in_use_bytes or 0) - memory.own_bytes - level.shared_bytes
    return Beside(max(others_bytes, 0), level.shared_bytes, level.cache_bytes)
