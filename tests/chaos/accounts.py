"""
What became of each request, and whether a fault excuses that it was lost. Pure.

Excused is what was inside of a worker that was killed, and no more: the journal tells which worker
had begun it, a list of its connections which of them it had accepted. Where the kernel chose a
worker by itself, nobody could make such a list: there the moment has to do.

A request is *retried* where RFC 9110, 9.2.2, and RFC 9112, 9.3.1, let every client and proxy do so:
on a connection that served another one before and was closed without one byte of a response to
this one, which no worker has begun.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from operator import gt
from typing import NamedTuple


class Attempt(NamedTuple):
    """
    One request on one connection. Times are seconds of the clock that all processes share.

    Attributes:
        id: Of the request. A second attempt has an id of its own.
        kind: The path.
        port: Ours, of the connection; 0 where there was none.
        connecting_at: When the connection was asked for.
        sent_at: When the request was begun to be sent.
        ended_at: When the response was there, or the failure.
        is_reused: Whether the connection had served a request before.
        is_mute: Whether not one byte of a response came.
        failure: What went wrong; None where the response was the right one.
        answered_by: The worker that says so in its response.
    """

    id: str
    kind: str
    port: int
    connecting_at: float
    sent_at: float
    ended_at: float
    is_reused: bool
    is_mute: bool
    failure: str | None
    answered_by: int | None = None

    @property
    def may_be_retried(self) -> bool:
        """Whether a client would send it again; these requests are all GET."""
        return self.failure is not None and self.is_reused and self.is_mute


class Loss(NamedTuple):
    """
    A worker that was killed.

    Attributes:
        pid: The worker's.
        since: From when on it served nobody any more.
        why: The fault.
        ports: The clients' ports of the connections that it had then; None where nobody could look.
        until: When it was gone for sure, or served again.
    """

    pid: int
    since: float
    why: str
    ports: frozenset[int] | None
    until: float = inf


class Begun(NamedTuple):
    """Who began a request, and when."""

    pid: int
    at: float


class Counted(NamedTuple):
    """What an arbiter and those of its workers that are gone had counted at one time."""

    at: float
    requests: int
    in_flight: int
    seconds: tuple[float, ...]
    """Busy, slot and CPU seconds."""


@dataclass(frozen=True)
class Accounts:
    """The sums of a run, and what they are made of."""

    attempts: int
    retried: int
    answered: int
    inside: tuple[Attempt, ...]
    outside: tuple[Attempt, ...]

    @property
    def requests(self) -> int:
        """How many were sent; a second attempt is the same request."""
        return self.attempts - self.retried


def account(
    attempts: Iterable[Attempt], begun: Mapping[str, Sequence[Begun]], losses: Sequence[Loss]
) -> Accounts:
    """
    Sort *attempts*.

    Args:
        attempts: All of them.
        begun: Who began each request, by its id.
        losses: The workers that were killed.
    """
    everything = list(attempts)
    failed = [attempt for attempt in everything if attempt.failure is not None]
    retried = [attempt for attempt in failed if attempt.may_be_retried and attempt.id not in begun]
    left = [attempt for attempt in failed if attempt not in retried]
    inside = tuple(attempt for attempt in left if _excuse(attempt, begun, losses))
    return Accounts(
        attempts=len(everything),
        retried=len(retried),
        answered=len(everything) - len(failed),
        inside=inside,
        outside=tuple(attempt for attempt in left if attempt not in inside),
    )


def _excuse(
    attempt: Attempt, begun: Mapping[str, Sequence[Begun]], losses: Sequence[Loss]
) -> Loss | None:
    """Return the loss of the worker that had *attempt* inside."""
    by = [one.pid for one in begun.get(attempt.id, ())]
    for loss in losses:
        if not loss.since <= attempt.ended_at <= loss.until:
            continue
        if by:
            is_inside = by == [loss.pid]
        elif loss.ports is None:
            is_inside = attempt.is_mute
        else:
            is_inside = attempt.connecting_at <= loss.since and attempt.port in loss.ports
        if is_inside:
            return loss
    return None


def twice(begun: Mapping[str, Sequence[Begun]]) -> dict[str, Sequence[Begun]]:
    """Return the requests that were begun more than once."""
    return {request: by for request, by in begun.items() if len(by) > 1}


def stuck(begun: Mapping[str, Sequence[Begun]], answered: Collection[str]) -> set[int]:
    """
    Return the workers with a request that never ends.

    Where an operator ends such a worker, Gunicorn kills it at last. One whose request was
    *answered* 504 can end by itself again.
    """
    left = {request for request in begun if request.startswith("stuck-")}.difference(answered)
    return {one.pid for request in left for one in begun[request]}


# An arbiter tells what it has counted some times a second, so not of its last moment.
UNTOLD_SECONDS = 1.0


def miscounted(
    counted: Mapping[int, Sequence[Counted]],
    attempts: Iterable[Attempt],
    killed: Collection[int],
    arbiter: int,
) -> list[str]:
    """
    Return what is wrong with the counters.

    Args:
        counted: By each arbiter, in the order of time.
        attempts: All requests.
        killed: The workers of which the last requests need not be counted.
        arbiter: The last one, which nothing is asked of any more.
    """
    wrong = []
    for pid, sums in counted.items():
        for before, now in pairwise(sums):
            if now.requests < before.requests or any(map(gt, before.seconds, now.seconds)):
                wrong.append(f"counters of {pid} fell: {before} to {now}")
    if counted[arbiter][-1].in_flight:
        wrong.append(f"still in flight: {counted[arbiter][-1].in_flight}")
    ends = [sums[-1].at for pid, sums in counted.items() if pid != arbiter]
    due = sum(
        attempt.failure is None
        and attempt.answered_by not in killed
        and not any(abs(attempt.ended_at - end) < UNTOLD_SECONDS for end in ends)
        for attempt in attempts
    )
    requests = sum(sums[-1].requests for sums in counted.values())
    if requests < due:
        wrong.append(f"{due} requests were answered by workers that lived on, {requests} counted")
    return wrong
