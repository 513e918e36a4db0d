"""A minute of load, from counters that a test writes down."""

from __future__ import annotations

from typing import Any

from gunicorn_autoconf.fleet.counters import DURATIONS, Counters, duration_of
from gunicorn_autoconf.load.capacity import Backlog, Load, Reading, Supply, measure

HTTP = "http://127.0.0.1:8000"


def minute(
    *,
    rate: float,
    request: float,
    computing: float,
    workers: int = 5,
    slots: int | None = 1,
    cores: float = 2,
    waiting: float | None = 0,
    delay: float = 0.0,
    loop: float = 0.0,
    pool: float = 0.0,
    streams: float = 0,
    **supply: Any,
) -> Load:
    """
    The load of a minute in which all workers do the same; times of a request in seconds.

    As many *streams* are open all the time, and are requests that never end.
    """
    requests = round(rate * 60 / workers)
    durations = [0] * DURATIONS
    durations[duration_of(request)] = requests
    done = Counters(
        requests=requests,
        busy_seconds=min(requests * request, 60.0),
        slot_seconds=requests * request + streams * 60 / workers,
        cpu_seconds=requests * computing,
        loop_seconds=loop * 60,
        pool_seconds=pool * 60,
        durations=tuple(durations),
    )
    readings = [
        Reading(
            at_seconds=at,
            total=_times(counters, workers),
            workers=dict.fromkeys(range(10, 10 + workers), counters),
            delayed_seconds=dict.fromkeys(range(10, 10 + workers), counters.requests * delay),
            backlogs=(Backlog(HTTP, waiting),),
        )
        for at, counters in ((100.0, Counters()), (160.0, done))
    ]
    load = measure(readings, Supply(cores=cores, workers=workers, slots=slots, **supply))
    assert load is not None
    return load


def _times(counters: Counters, count: int) -> Counters:
    total = Counters()
    for _ in range(count):
        total = total.plus(counters)
    return total
