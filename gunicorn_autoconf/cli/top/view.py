"""What `top` shows of a server: samples to CPU shares, growth and past of each process. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from gunicorn_autoconf.machine.facts import ProcessMemory

# The version of the document that `to_json` returns; a change that breaks a reader raises it.
SCHEMA = 1

# How many columns wide a worker's past is drawn at most. Wider ones are hard to compare.
MAX_POINTS = 120


class ProcessSample(NamedTuple):
    """One process at one time: its *state* in the kernel's words, its CPU time since its start."""

    pid: int
    age_seconds: float
    state: str
    cpu_seconds: float
    memory: ProcessMemory

    @property
    def used_bytes(self) -> int:
        """Its USS, or its RSS where the USS is unknown."""
        return self.memory.uss_bytes or self.memory.rss_bytes


class MemorySample(NamedTuple):
    """
    The limit with the least headroom, in bytes, and the file or variable that gave it.

    The budget is what a plan would give to workers: the limit minus the reserve, minus what other
    processes use. The headroom is the limit minus the working set, negative if that exceeds it.
    """

    limit_bytes: int
    source: str
    budget_bytes: int
    reserve_bytes: int
    headroom_bytes: int


class ServerSample(NamedTuple):
    """A whole server at one time: what it is, what it may use, what its processes use."""

    at_seconds: float
    command: str
    arbiter: ProcessSample
    workers: tuple[ProcessSample, ...]
    cores: float
    memory: MemorySample | None

    @property
    def server_bytes(self) -> int:
        """The memory of the arbiter and its workers together."""
        return total_bytes((self.arbiter, *self.workers))

    @property
    def others_bytes(self) -> int:
        """The memory of other processes under the same limit."""
        if self.memory is None:
            return 0
        return max(self.memory.limit_bytes - self.memory.headroom_bytes - self.server_bytes, 0)


class Row(NamedTuple):
    """One process as it is shown, with what it used at the latest samples, oldest first."""

    now: ProcessSample
    cpu_percent: float | None  # of one core, since the previous sample; None at the first
    first_bytes: int
    points: tuple[int, ...]

    @property
    def growth_bytes(self) -> int:
        """How much it has grown since the first sample."""
        return self.now.used_bytes - self.first_bytes


class View(NamedTuple):
    """A server as it is shown; the workers are ordered by pid."""

    now: ServerSample
    arbiter: Row
    workers: tuple[Row, ...]

    @property
    def cpu_percent(self) -> float | None:
        """The share of one core that all its processes use; None at the first sample."""
        shares = [row.cpu_percent for row in (self.arbiter, *self.workers)]
        known = [share for share in shares if share is not None]
        return sum(known) if known else None


# Each column to sort by, with the rank of a row in it. The first letter is the key to press.
_RANKS: Mapping[str, Callable[[Row], float]] = {
    "memory": lambda row: -row.now.used_bytes,
    "cpu": lambda row: -(row.cpu_percent or 0.0),
    "age": lambda row: -row.now.age_seconds,
    "pid": lambda row: row.now.pid,
}


class Order(NamedTuple):
    """The order of the workers: largest, busiest, oldest or lowest pid first, unless reversed."""

    column: str = "memory"
    reverse: bool = False

    def press(self, key: str) -> Order:
        """Return the order after *key* was pressed; unknown keys change nothing."""
        if key == "r":
            return self._replace(reverse=not self.reverse)
        return next((Order(column) for column in _RANKS if column[0] == key), self)

    def apply(self, rows: Iterable[Row]) -> list[Row]:
        """Return *rows* in this order; equal ones are ordered by pid."""
        rank = _RANKS[self.column]
        return sorted(rows, key=lambda row: (rank(row), row.now.pid), reverse=self.reverse)


def follow(before: View | None, now: ServerSample) -> View:
    """Return the view after the sample *now*; *before* is the previous view, if there is one."""
    known = {row.now.pid: row for row in (before.arbiter, *before.workers)} if before else {}
    passed_seconds = now.at_seconds - before.now.at_seconds if before else 0.0
    arbiter, *workers = (
        _follow(known.get(process.pid), process, passed_seconds)
        for process in (now.arbiter, *sorted(now.workers))
    )
    return View(now, arbiter, tuple(workers))


def _follow(before: Row | None, now: ProcessSample, passed_seconds: float) -> Row:
    # The kernel reuses pids: a process that is younger than before is another one.
    if before is None or now.age_seconds < before.now.age_seconds:
        return Row(now, None, now.used_bytes, (now.used_bytes,))
    computed_seconds = max(now.cpu_seconds - before.now.cpu_seconds, 0.0)
    share = computed_seconds / passed_seconds * 100 if passed_seconds > 0 else None
    points = (*before.points, now.used_bytes)[-MAX_POINTS:]
    return Row(now, share, before.first_bytes, points)


def total_bytes(processes: Iterable[ProcessSample]) -> int:
    """Return the memory of *processes* together: the sum of their PSS, or RSS where unknown."""
    memories = (process.memory for process in processes)
    return sum(memory.pss_bytes or memory.rss_bytes for memory in memories)


def to_json(view: View) -> dict[str, Any]:
    """Return *view* as values that `json.dumps` takes; unknown values are None."""
    now = view.now
    sizes = {"server_bytes": now.server_bytes, "others_bytes": now.others_bytes}
    return {
        "schema": SCHEMA,
        "command": now.command,
        "cores": now.cores,
        "cpu_percent": _rounded(view.cpu_percent),
        "memory": now.memory and now.memory._asdict() | sizes,
        "arbiter": _process(view.arbiter),
        "workers": [_process(row) for row in view.workers],
    }


def _process(row: Row) -> dict[str, Any]:
    return {
        "pid": row.now.pid,
        "age_seconds": round(row.now.age_seconds, 1),
        "state": row.now.state,
        "cpu_seconds": round(row.now.cpu_seconds, 2),
        "cpu_percent": _rounded(row.cpu_percent),
        **row.now.memory._asdict(),
        "growth_bytes": row.growth_bytes,
    }


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 1)
