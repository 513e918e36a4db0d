"""What is shown of a server: samples to shares of CPU, growth and the past of each worker. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from gunicorn_autoconf.machine.facts import ProcessMemory

# The version of the document that `to_json` returns; a change that breaks a reader raises it.
SCHEMA = 1

# What a sparkline may show of a worker's past: more than the columns of a wide terminal.
MAX_POINTS = 250

Column = Literal["memory", "cpu", "age", "pid"]


class ProcessSample(NamedTuple):
    """One look at a process."""

    pid: int
    age_seconds: float
    state: str
    """The kernel's word, as psutil spells it."""
    cpu_seconds: float
    """Computed since its start, in user and kernel mode."""
    memory: ProcessMemory


class MemorySample(NamedTuple):
    """One look at the limit that leaves least, in bytes."""

    limit_bytes: int
    source: str
    """The file, call or variable that gave the limit."""
    budget_bytes: int
    """Limit less reserve less what others use, as a plan would have it."""
    reserve_bytes: int
    headroom_bytes: int
    """Limit less working set; negative where a declared limit is exceeded."""


class ServerSample(NamedTuple):
    """One look at a whole server."""

    at_seconds: float
    command: str
    """The arbiter's command, printable."""
    arbiter: ProcessSample
    workers: tuple[ProcessSample, ...]
    cores: float
    memory: MemorySample | None
    """None where no limit is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    A process as it is shown.

    Attributes:
        now: What it was last seen as.
        cpu_percent: Its share of one core since the sample before, or None at the first.
        first_bytes: What it used when it was first seen: USS, or RSS where that is all there is.
        points: What it used at each sample, the oldest first.
    """

    now: ProcessSample
    cpu_percent: float | None
    first_bytes: int
    points: tuple[int, ...]

    @property
    def used_bytes(self) -> int:
        """USS, or RSS where that is all there is."""
        return _used(self.now.memory)

    @property
    def growth_bytes(self) -> int:
        """What it has grown since it was first seen."""
        return self.used_bytes - self.first_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """
    A server as it is shown.

    Attributes:
        command: The arbiter's command, printable.
        at_seconds: When it was last seen, on the clock of its samples.
        arbiter: The arbiter.
        workers: Its workers, in the order of their pids.
        cores: What it may compute on.
        memory: The limit that leaves least, or None where no limit is known.
    """

    command: str
    at_seconds: float
    arbiter: Row
    workers: tuple[Row, ...]
    cores: float
    memory: MemorySample | None

    @property
    def server_bytes(self) -> int:
        """What arbiter and workers use together."""
        return total_bytes([row.now for row in (self.arbiter, *self.workers)])

    @property
    def others_bytes(self) -> int:
        """What others use under the same limit."""
        if self.memory is None:
            return 0
        used_bytes = self.memory.limit_bytes - self.memory.headroom_bytes
        return max(used_bytes - self.server_bytes, 0)

    @property
    def cpu_percent(self) -> float | None:
        """The share of one core that all of them take together, or None at the first sample."""
        shares = [
            row.cpu_percent for row in (self.arbiter, *self.workers) if row.cpu_percent is not None
        ]
        return sum(shares) if shares else None


@dataclass(frozen=True, slots=True)
class Order:
    """By what the workers are ordered: the most, oldest or lowest pid first unless reversed."""

    column: Column = "memory"
    reverse: bool = False

    def press(self, key: str) -> Order:
        """Return the order after *key*; any other than those below changes nothing."""
        columns: dict[str, Column] = {"m": "memory", "c": "cpu", "a": "age", "p": "pid"}
        if key == "r":
            return replace(self, reverse=not self.reverse)
        return Order(columns[key]) if key in columns else self

    def apply(self, rows: tuple[Row, ...]) -> list[Row]:
        """Return *rows* in this order; equals stay in the order of their pids."""
        ranks: dict[Column, Callable[[Row], float]] = {
            "memory": lambda row: -row.used_bytes,
            "cpu": lambda row: -(row.cpu_percent or 0.0),
            "age": lambda row: -row.now.age_seconds,
            "pid": lambda row: row.now.pid,
        }
        rank = ranks[self.column]
        return sorted(rows, key=lambda row: (rank(row), row.now.pid), reverse=self.reverse)


def follow(before: View | None, sample: ServerSample) -> View:
    """Return the view after *sample*, given the view before it, if any."""
    known = {row.now.pid: row for row in (before.arbiter, *before.workers)} if before else {}
    passed = sample.at_seconds - before.at_seconds if before else 0.0

    def row(now: ProcessSample) -> Row:
        earlier = known.get(now.pid)
        # The kernel gives a pid again: who is younger than before is another process.
        if earlier is None or now.age_seconds < earlier.now.age_seconds:
            used_bytes = _used(now.memory)
            return Row(now=now, cpu_percent=None, first_bytes=used_bytes, points=(used_bytes,))
        return _next(earlier, now, passed)

    return View(
        command=sample.command,
        at_seconds=sample.at_seconds,
        arbiter=row(sample.arbiter),
        workers=tuple(row(worker) for worker in sorted(sample.workers)),
        cores=sample.cores,
        memory=sample.memory,
    )


def _next(earlier: Row, now: ProcessSample, passed_seconds: float) -> Row:
    computed = now.cpu_seconds - earlier.now.cpu_seconds
    share = max(computed, 0.0) / passed_seconds * 100 if passed_seconds > 0 else None
    points = (*earlier.points, _used(now.memory))[-MAX_POINTS:]
    return replace(earlier, now=now, cpu_percent=share, points=points)


def total_bytes(processes: Iterable[ProcessSample]) -> int:
    """Return what *processes* use together: the sum of their PSS, of RSS where not told."""
    memories = [process.memory for process in processes]
    return sum(memory.pss_bytes or memory.rss_bytes for memory in memories)


def _used(memory: ProcessMemory) -> int:
    return memory.uss_bytes or memory.rss_bytes


def to_json(view: View) -> dict[str, Any]:
    """Return *view* as values that `json.dumps` takes; what is not known is None."""
    memory = view.memory and {
        **view.memory._asdict(),
        "server_bytes": view.server_bytes,
        "others_bytes": view.others_bytes,
    }
    return {
        "schema": SCHEMA,
        "command": view.command,
        "cores": view.cores,
        "cpu_percent": _rounded(view.cpu_percent),
        "memory": memory,
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
