"""Measures ways with a workload in interleaved rounds, after a sweep for the oracle."""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from . import load
from .figures import CpuTimes, Sample, disturbance, finalists, parse_cpu_times
from .load import Pattern
from .servers import DidNotStartError, Server, serving, settle
from .ways import Supply, Way
from .workloads import Workload

# Opens databases, fills caches.
WARM_UP_SECONDS = 1
# The load of a look at a point of the sweep.
LOOK_SECONDS = 1
# So many of the best points of the sweep, in each pattern, join the rounds. The oracle is the best
# of these, by what they do in the rounds: a lucky look makes no oracle.
FINALISTS = 2


class Bench(NamedTuple):
    """What all measurements have in common."""

    wrk: str
    supply: Supply
    folder: Path
    patterns: Sequence[Pattern]
    seconds: int
    rounds: int

    def supply_under(self, limit_mib: int | None) -> Supply:
        """What a formula may count where memory is limited to *limit_mib*."""
        return self.supply._replace(memory_mib=limit_mib) if limit_mib else self.supply


def compare(
    bench: Bench, workload: Workload, ways: Sequence[Way], swept: Sequence[Way], limit: int | None
) -> Iterator[Sample]:
    """Yield the samples of the sweep, as round 0, and of all rounds, counted from 1."""
    look = bench._replace(seconds=LOOK_SECONDS)
    screened = [seen for way in swept for seen in measure(look, workload, way, limit, 0)]
    yield from screened
    chosen = finalists(screened, FINALISTS)
    lineup = [*ways, *(way for way in swept if way.name in chosen)]
    for number in range(1, bench.rounds + 1):
        # Seeded: a run can be repeated in the same order.
        for way in random.Random(number).sample(lineup, len(lineup)):
            yield from measure(bench, workload, way, limit, number)


def measure(
    bench: Bench, workload: Workload, way: Way, limit: int | None, number: int
) -> Iterator[Sample]:
    """Start a server and measure it in each pattern of connections."""
    supply = bench.supply_under(limit)
    blank = Sample(
        workload=workload.name,
        pattern="",
        limit_mib=limit,
        way=way.name,
        role=way.role,
        round=number,
    )
    try:
        with serving(way, workload, supply, bench.folder, limit) as server:
            _load(bench, workload, server, bench.patterns[0], WARM_UP_SECONDS)
            for pattern in bench.patterns:
                settle(server, workload)
                sample = replace(blank, pattern=pattern)
                yield _tell(_sample(bench, workload, server, pattern, sample))
    except DidNotStartError as error:
        print(error, file=sys.stderr)
        for pattern in bench.patterns:
            failed = replace(blank, pattern=pattern, started=False, oom_kills=error.oom_kills)
            yield _tell(failed)


def _sample(
    bench: Bench, workload: Workload, server: Server, pattern: Pattern, blank: Sample
) -> Sample:
    before, own_before = _cpu_times(), server.cpu_seconds + _reaped_seconds()
    answer, pss_bytes = _load(bench, workload, server, pattern, bench.seconds)
    after, own_after = _cpu_times(), server.cpu_seconds + _reaped_seconds()
    own_ticks = (own_after - own_before) * os.sysconf("SC_CLK_TCK")
    disturbed = disturbance(before, after, own_ticks)
    return replace(
        blank,
        **answer._asdict(),
        **disturbed._asdict(),
        pss_bytes=pss_bytes,
        oom_kills=server.oom_kills,
    )


def _load(
    bench: Bench, workload: Workload, server: Server, pattern: Pattern, seconds: int
) -> tuple[load.Answer, int]:
    """Return wrk's answer and what the server weighed half-way."""
    running = load.begin(bench.wrk, workload, pattern, server.address, seconds)
    time.sleep(seconds / 2)
    pss_bytes = server.pss_bytes
    return load.finish(running, pattern), pss_bytes


def _cpu_times() -> CpuTimes:
    return parse_cpu_times(Path("/proc/stat").read_text())


def _reaped_seconds() -> float:
    """The CPU time of our children that have ended: between two calls that is wrk."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tell(sample: Sample) -> Sample:
    """Show on stderr how far the run is."""
    mark = " disturbed" if sample.is_disturbed else ""
    limit = f" {sample.limit_mib} MiB" if sample.limit_mib else ""
    print(
        f"{sample.workload}{limit} {sample.pattern} round {sample.round} {sample.way}: "
        f"{sample.rate:,.0f}/s, {sample.errors} errors{mark}",
        file=sys.stderr,
        flush=True,
    )
    return sample
