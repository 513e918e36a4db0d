"""What a load process has to do, and what it saw: one is pickled for it, the other by it."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from gunicorn_autoconf.cli.tune.latencies import Latencies, merged


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    One load of the server.

    Attributes:
        port: Of the server, on 127.0.0.1.
        seconds: How long requests are sent.
        clients: The most requests at once, each with a connection of its own.
        rate: Requests due a second, whatever the server does: an open loop. None for a closed
            loop, in which each client sends a request as soon as it has its answer.
        seed: Of the times at which requests are due, and of their order.
        ramp_seconds: The first part, which is not counted.
        timeout_seconds: After which a request counts as unanswered.
        new_connections: Whether each request opens a connection.
    """

    port: int
    seconds: float
    clients: int
    rate: float | None = None
    seed: int = 0
    ramp_seconds: float = 0.0
    timeout_seconds: float = 10.0
    new_connections: bool = False

    @property
    def counted_seconds(self) -> float:
        """How long requests are counted."""
        return self.seconds - self.ramp_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """
    What a load has seen in the seconds that count.

    Attributes:
        latencies: Of the requests that were answered below 500. In an open loop from when a
            request was due, in a closed loop from when it was sent.
        statuses: How many answers had which status.
        unanswered: How many requests got no answer, by reason.
        cpu_seconds: What the load itself used.
    """

    seconds: float
    latencies: Latencies
    statuses: Mapping[int, int] = field(default_factory=dict)
    unanswered: Mapping[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.latencies.total / self.seconds if self.seconds else 0.0

    @property
    def bad(self) -> int:
        """How many requests got no answer, or one that blames the server."""
        failed = sum(count for status, count in self.statuses.items() if status >= 500)
        return failed + sum(self.unanswered.values())

    @property
    def bad_fraction(self) -> float:
        """The share of them among all."""
        total = self.latencies.total + self.bad
        return self.bad / total if total else 0.0


def together(parts: Sequence[Seen]) -> Seen:
    """Return what several load processes have seen at the same time."""
    return Seen(
        seconds=max(part.seconds for part in parts),
        latencies=merged(part.latencies for part in parts),
        statuses=sum((Counter(part.statuses) for part in parts), Counter[int]()),
        unanswered=sum((Counter(part.unanswered) for part in parts), Counter[str]()),
        cpu_seconds=sum(part.cpu_seconds for part in parts),
    )


def send(pipe: IO[bytes], value: object) -> None:
    """Write *value* to the other process."""
    pickle.dump(value, pipe)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Return what the other process has sent; raises EOFError where it has ended."""
    return pickle.load(pipe)  # noqa: S301 - From a process of our own.
