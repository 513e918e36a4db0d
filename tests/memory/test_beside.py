"""What is used beside the workers."""

from __future__ import annotations

from builders import GIB, MIB, limit, memory

from gunicorn_autoconf.machine.facts import MemoryLimit
from gunicorn_autoconf.memory.beside import Beside, beside_workers


def level(mib: int, in_use: int, *, cache: int = 0, shared: int = 0) -> MemoryLimit:
    found = limit(mib * MIB, in_use=in_use * MIB)
    return found._replace(cache_bytes=cache * MIB, shared_bytes=shared * MIB)


def test_others_shared_memory_and_cache() -> None:
    supply = memory(4 * GIB, level(400, 390, cache=40, shared=200), own=60 * MIB)
    assert beside_workers(supply) == Beside(90 * MIB, 200 * MIB, 40 * MIB)


def test_of_the_level_that_leaves_least() -> None:
    """A sibling eats what the parent grants."""
    supply = memory(4 * GIB, level(300, 60), level(1000, 960), own=60 * MIB)
    assert beside_workers(supply) == Beside(900 * MIB, 0, 0)


def test_never_less_than_nothing() -> None:
    """Pages that the processes share with others are not charged here."""
    assert beside_workers(memory(4 * GIB, level(300, 50), own=60 * MIB)) == Beside(0, 0, 0)


def test_without_a_limit() -> None:
    assert beside_workers(memory(4 * GIB)) is None


def test_a_good_part_is_worth_telling() -> None:
    beside = Beside(29 * MIB, 30 * MIB, 0)
    assert beside.worth_showing(300 * MIB) == {"shared": 30 * MIB}
