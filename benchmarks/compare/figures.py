"""Samples and what follows: medians, spreads, ratios to the oracle and to a peer. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# A round in which others had more of the machine's CPU time than this is marked.
DISTURBED_FRACTION = 0.05


class CpuTimes(NamedTuple):
    """What all CPUs have done since the machine started, in ticks."""

    total: int
    processes: int
    stolen: int


def parse_cpu_times(text: str) -> CpuTimes:
    """
    Return the sums in a whole ``/proc/stat``.

    *processes* is time in processes: interrupts belong to nobody, guests are part of ``user``.

    Source:
        proc(5), "/proc/stat".

    >>> parse_cpu_times("cpu  10 1 5 80 2 0 1 7 0 0")
    CpuTimes(total=106, processes=16, stolen=7)
    """
    fields = [int(field) for field in text.split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, _irq, _softirq, stolen = fields
    return CpuTimes(total=sum(fields), processes=user + nice + system, stolen=stolen)


class Disturbance(NamedTuple):
    """What others had of the machine's CPU time during a measurement, as shares of all of it."""

    stolen_fraction: float
    """Taken by the hypervisor."""
    others_fraction: float
    """Used by processes that were neither the server nor the load."""


def disturbance(before: CpuTimes, after: CpuTimes, own_ticks: float) -> Disturbance:
    """Return what was not ours between two readings; *own_ticks* is what server and load used."""
    passed = max(1, after.total - before.total)
    others = max(0.0, after.processes - before.processes - own_ticks)
    return Disturbance((after.stolen - before.stolen) / passed, others / passed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement: a workload in a pattern of connections on a server, in one round."""

    workload: str
    pattern: str
    limit_mib: int | None
    way: str
    role: str
    round: int
    """From 1; 0 is a look that a sweep takes at one of its points."""
    started: bool = True
    rate: float = 0.0
    """Requests per second."""
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    requests: int = 0
    errors: int = 0
    oom_kills: int = 0
    """From the start of the server on."""
    pss_bytes: int = 0
    stolen_fraction: float = 0.0
    others_fraction: float = 0.0

    @property
    def is_disturbed(self) -> bool:
        return self.stolen_fraction + self.others_fraction > DISTURBED_FRACTION

    @property
    def survived(self) -> bool:
        """Whether nothing was killed and every request was answered."""
        return self.started and not self.errors and not self.oom_kills


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """
    Return median and quartiles of *values*; of one value, three times that value.

    >>> spread([4.0, 1.0, 2.0, 3.0, 5.0])
    Spread(low=2.0, median=3.0, high=4.0)
    """
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way in one table: medians over the rounds, sums of what should not happen."""

    way: str
    role: str
    is_oracle: bool
    is_best_peer: bool
    rounds: int
    disturbed: int
    started: int
    rate: Spread
    p50_ms: float
    p99_ms: float
    errors: int
    oom_kills: int
    pss_bytes: float
    to_oracle: Spread | None
    to_peer: Spread | None

    @property
    def survived(self) -> bool:
        """Whether in no round anything was killed or a request was not answered well."""
        return self.started == self.rounds and not self.errors and not self.oom_kills


class Table(NamedTuple):
    """All ways with one workload, limit and pattern."""

    workload: str
    limit_mib: int | None
    pattern: str
    rows: list[Row]


def tables(samples: Iterable[Sample]) -> list[Table]:
    """Return a table for each workload, limit and pattern, in the order of their first samples."""
    groups: dict[tuple[str, int | None, str], list[Sample]] = {}
    for sample in samples:
        if sample.round == 0:
            continue
        key = (sample.workload, sample.limit_mib, sample.pattern)
        groups.setdefault(key, []).append(sample)
    return [Table(*key, _rows(group)) for key, group in groups.items()]


def _rows(group: list[Sample]) -> list[Row]:
    by_way: dict[str, list[Sample]] = {}
    for sample in group:
        by_way.setdefault(sample.way, []).append(sample)
    oracle, peer = (
        by_way[names[0]] if (names := ranked(group, role)) else None for role in ("sweep", "peer")
    )
    return [_row(seen, oracle, peer) for seen in by_way.values()]


def ranked(group: Iterable[Sample], role: str) -> list[str]:
    """
    Return the ways of *role*, that with the highest median rate first.

    Under a memory limit those that lost a worker or a request come after all others.
    """
    by_way: dict[str, list[Sample]] = {}
    for sample in group:
        if sample.role == role:
            by_way.setdefault(sample.way, []).append(sample)

    def rank(way: str) -> tuple[bool, float]:
        seen = by_way[way]
        hurt = any(sample.limit_mib and not sample.survived for sample in seen)
        return hurt, -statistics.median(sample.rate for sample in seen)

    return sorted(by_way, key=rank)


def finalists(swept: Iterable[Sample], count: int) -> set[str]:
    """Return the *count* best points of a sweep in each pattern of connections."""
    by_pattern: dict[str, list[Sample]] = {}
    for sample in swept:
        by_pattern.setdefault(sample.pattern, []).append(sample)
    return {way for seen in by_pattern.values() for way in ranked(seen, "sweep")[:count]}


def _row(seen: list[Sample], oracle: list[Sample] | None, peer: list[Sample] | None) -> Row:
    median = statistics.median
    return Row(
        way=seen[0].way,
        role=seen[0].role,
        is_oracle=seen is oracle,
        is_best_peer=seen is peer,
        rounds=len(seen),
        disturbed=sum(sample.is_disturbed for sample in seen),
        started=sum(sample.started for sample in seen),
        rate=spread([sample.rate for sample in seen]),
        p50_ms=median(sample.p50_ms for sample in seen),
        p99_ms=median(sample.p99_ms for sample in seen),
        errors=sum(sample.errors for sample in seen),
        oom_kills=sum(sample.oom_kills for sample in seen),
        pss_bytes=median(sample.pss_bytes for sample in seen),
        to_oracle=ratio(seen, oracle),
        to_peer=ratio(seen, peer),
    )


def ratio(seen: Sequence[Sample], reference: Sequence[Sample] | None) -> Spread | None:
    """Return the rates of *seen* by those of *reference*, paired by round; None without a pair."""
    rates = {sample.round: sample.rate for sample in reference or () if sample.rate}
    pairs = [sample.rate / rates[sample.round] for sample in seen if sample.round in rates]
    return spread(pairs) if pairs else None
