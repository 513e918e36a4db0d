"""A run's sums, also as JSON, and the story of each request that was lost. Pure."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from accounts import Accounts, Attempt, Begun
from campaign import Injection
from invariants import Vitals
from schedule import Fault

MIB = 2**20

# What is told of a lost request: what happened so long before and after.
NEAR_SECONDS = 3.0


@dataclass(frozen=True)
class Summary:
    """One worker class."""

    worker_class: str
    seed: int
    seconds: float
    rounds: int
    injections: Sequence[Injection]
    accounts: Accounts
    killed: int
    recycled: int
    calms: Sequence[Vitals]

    @property
    def injected(self) -> Counter[Fault]:
        """How often each fault was injected."""
        return Counter(injection.fault for injection in self.injections)

    def rows(self) -> list[tuple[str, str]]:
        """Return names and values, the worker class above them."""
        return [
            ("", self.worker_class),
            ("seconds", f"{self.seconds:.0f}"),
            ("seed", str(self.seed)),
            ("rounds", str(self.rounds)),
            ("faults injected", str(self.injected.total())),
            *((f"  {fault.value}", str(self.injected[fault])) for fault in Fault),
            ("workers killed", str(self.killed)),
            ("workers recycled by the guard", str(self.recycled)),
            ("requests sent", f"{self.accounts.requests:,}"),
            ("answered", f"{self.accounts.answered:,}"),
            ("sent again on a new connection", str(self.accounts.retried)),
            ("lost inside killed workers", str(len(self.accounts.inside))),
            ("lost outside", str(len(self.accounts.outside))),
            *(self._vitals(self.calms[0], self.calms[-1]) if self.calms else ()),
        ]

    @staticmethod
    def _vitals(start: Vitals, end: Vitals) -> Iterator[tuple[str, str]]:
        for name, before, after in (
            ("arbiter's descriptors", len(start.descriptors), len(end.descriptors)),
            ("arbiter's threads", start.threads, end.threads),
            ("status slots taken", start.slots, end.slots),
            ("temporary files", len(start.files), len(end.files)),
            ("zombies", start.zombies, end.zombies),
            ("arbiter's own memory", _mib(start.anonymous_bytes), _mib(end.anonymous_bytes)),
            ("  of it USS", _mib(start.uss_bytes), _mib(end.uss_bytes)),
        ):
            yield name, f"{before} -> {after}"

    def as_json(self) -> str:
        document = {
            "worker_class": self.worker_class,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "rounds": self.rounds,
            "faults": {fault.name.lower(): self.injected[fault] for fault in Fault},
            "workers_killed": self.killed,
            "workers_recycled": self.recycled,
            "requests": self.accounts.requests,
            "answered": self.accounts.answered,
            "retried": self.accounts.retried,
            "lost_inside_killed_workers": len(self.accounts.inside),
            "lost_outside": len(self.accounts.outside),
            "injections": [
                (one.fault.name.lower(), one.began_at, one.ended_at) for one in self.injections
            ],
            "calms": [asdict(vitals) for vitals in self.calms],
        }
        return json.dumps(document, indent=2) + "\n"


def tell(
    attempt: Attempt,
    begun: Sequence[Begun],
    injections: Iterable[Injection],
    log: Iterable[str],
    wall_offset: float,
) -> str:
    """
    Return the story of a request that was lost: itself, the faults and the log lines near to it.

    Args:
        attempt: The request.
        begun: Who began it.
        injections: All faults of the run.
        log: All lines of the server's log.
        wall_offset: What the wall clock is ahead of the one that *attempt* has.
    """
    since, until = attempt.sent_at - NEAR_SECONDS, attempt.ended_at + NEAR_SECONDS
    near = [
        f"    {_clock(one.began_at + wall_offset)} to {_clock(one.ended_at + wall_offset)} "
        f"{one.fault.value}"
        for one in injections
        if one.began_at <= until and one.ended_at >= since
    ]
    seconds = {_clock(since + wall_offset + n) for n in range(round(until - since) + 1)}
    lines = [f"    {line}" for line in log if line[12:20] in seconds]
    connection = "a kept" if attempt.is_reused else "a new"
    head = (
        f"{attempt.id} {attempt.kind}: {attempt.failure} after"
        f" {attempt.ended_at - attempt.sent_at:.3f} s, sent {_clock(attempt.sent_at + wall_offset)}"
        f" on {connection} connection from port {attempt.port},"
        f" begun by {' and '.join(str(one.pid) for one in begun) or 'nobody'}"
    )
    return "\n".join([head, *near, *lines])


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds))


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f} MiB"
