"""Memory history and plan to one action: keep, grow, shrink or recycle. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind, Permissions
from gunicorn_autoconf.memory.timing import DEFAULT, Timing
from gunicorn_autoconf.plan.budget import GROWTH_ALLOWANCE
from gunicorn_autoconf.units import format_bytes

# Below this share even the only worker may go before its replacement is there.
CRITICAL_FRACTION = 0.05
# Unless to wait for that age would leave less time than this: until then it has drained and ended.
END_SECONDS = 2.0
# From the first sample that shows the need until the memory of the old worker is free.
DECISION_SECONDS = 4.0

# Headroom that will last so long at the present rate does not shrink to speak of.
CALM_SECONDS = 60.0


def decide(
    history: Sequence[Sample],
    permissions: Permissions,
    workers_for: Callable[[int], int],
    timing: Timing = DEFAULT,
) -> Action:
    """
    Return the one thing to do after the last sample of *history*.

    Args:
        history: Samples, the newest last.
        permissions: What the guard may do.
        workers_for: The plan's count for workers that were measured to use so many bytes.
        timing: How patient the guard is, and how early it acts.
    """
    now = history[-1]
    if not now.workers:
        return Action(Kind.KEEP, "no worker is measured")
    waits = _waits_for_proof(history, permissions, workers_for)
    return (
        _shrink(history, permissions, workers_for)
        or (None if waits else _recycle(history, permissions, workers_for, timing))
        or _follow(history, permissions, workers_for)
        or Action(Kind.KEEP, "as planned")
    )


def next_interval(history: Sequence[Sample], timing: Timing = DEFAULT) -> float:
    """
    Return the seconds until the next sample is due.

    Sooner while workers boot, and the sooner the closer the limit is at the present rate.
    """
    now = history[-1]
    usual = timing.slowest_seconds if now.is_settled else timing.booting_seconds
    if now.headroom_fraction < timing.low_fraction:
        return timing.fastest_seconds
    if len(history) < 2 or _has_freed(*history[-2:]):
        return (
            timing.booting_seconds
        )  # The rate of growth is not known yet, or hidden by what was freed.
    left = _seconds_left(history)
    return usual if left is None else max(timing.fastest_seconds, min(usual, left / 8))


def _follow(
    history: Sequence[Sample], permissions: Permissions, workers_for: Callable[[int], int]
) -> Action | None:
    """Grow or shrink to the plan for the largest worker."""
    now = history[-1]
    if not (permissions.resizing and now.is_settled):
        return None
    largest = max(worker.pss_bytes for worker in now.workers)
    wanted = max(workers_for(largest), 1)
    if wanted > now.target and permissions.growing:
        return Action(
            Kind.GROW, _size(now, largest, wanted), add=min(now.target, wanted - now.target)
        )
    # Not for the one moment in which a request takes much: that count would stay.
    lasting = _lasting_bytes(history)
    if wanted < now.target and permissions.shrinking and lasting is not None:
        wanted = max(workers_for(lasting), 1)
        if wanted < now.target:
            return Action(Kind.SHRINK, _size(now, lasting, wanted))
    return None


def _size(now: Sample, largest_bytes: int, wanted: int) -> str:
    return f"the largest of {now.target} uses {format_bytes(largest_bytes)}, the plan is {wanted}"


def is_reached(history: Sequence[Sample], workers_for: Callable[[int], int]) -> bool:
    """Whether the count has come to the plan for the largest worker."""
    lasting = _lasting_bytes(history)
    if lasting is None or not history[-1].is_settled:
        return False
    return max(workers_for(lasting), 1) == history[-1].target


def is_full(history: Sequence[Sample], workers_for: Callable[[int], int]) -> bool:
    """
    Whether the count has come to the plan for the smallest worker, too.

    Until then the largest may be one that leaks: it will be replaced, and more fit.
    """
    smallest = min((worker.pss_bytes for worker in history[-1].workers), default=0)
    return is_reached(history, workers_for) and workers_for(smallest) <= history[-1].target


def _lasting_bytes(history: Sequence[Sample]) -> int | None:
    """Return the size of the largest worker; of each the smaller one of its last two sizes."""
    if len(history) < 2:
        return None
    before = {worker.pid: worker.pss_bytes for worker in history[-2].workers if worker.is_booted}
    workers = history[-1].workers
    if not workers or any(worker.pid not in before for worker in workers):
        return None  # One that was seen once may have been seen in such a moment.
    return max(min(worker.pss_bytes, before[worker.pid]) for worker in workers)


def _shrink(
    history: Sequence[Sample], permissions: Permissions, workers_for: Callable[[int], int]
) -> Action | None:
    """Retire one where all are large, have stopped growing, and even the smallest is too large."""
    if not permissions.resizing or len(history) < 2:
        return None
    for sample in history[-2:]:
        if not all(worker.is_flat for worker in sample.workers):
            return None
        wanted = _fewer(sample, workers_for)
        if wanted is None:
            return None
    smallest = min(worker.pss_bytes for worker in history[-1].workers)
    return Action(
        Kind.SHRINK,
        f"all {sample.target} workers use {format_bytes(smallest)} or more, the plan is {wanted}",
    )


def _fewer(sample: Sample, workers_for: Callable[[int], int]) -> int | None:
    """Return the plan's count where all have grown and even the smallest is too large for it."""
    if sample.target < 2 or not sample.is_settled:
        return None
    if not all(worker.has_grown for worker in sample.workers):
        return None
    smallest = min(worker.pss_bytes for worker in sample.workers)
    # Without the allowance for growth: it has grown, and a margin keeps the count from
    # swinging between this rule and the one that grows.
    wanted = workers_for(round(smallest / GROWTH_ALLOWANCE))
    return wanted if wanted < sample.target else None


def _waits_for_proof(
    history: Sequence[Sample], permissions: Permissions, workers_for: Callable[[int], int]
) -> bool:
    """
    Whether all are too large and nothing grows: soon it shows whether they stay so.

    A recycle now would set back the age of one, so that never all are seen to be flat: each new
    worker grows to the same size again, and the recycles would go on for ever.
    """
    if not permissions.resizing or len(history) < 2 or _fewer(history[-1], workers_for) is None:
        return False
    left = _seconds_left(history)
    return left is None or left >= CALM_SECONDS


def _recycle(
    history: Sequence[Sample],
    permissions: Permissions,
    workers_for: Callable[[int], int],
    timing: Timing,
) -> Action | None:
    """Replace the largest worker that has grown, where the limit is near in two samples running."""
    if len(history) < 2 or not all(_is_pressed(part, timing) for part in (history, history[:-1])):
        return None
    now = history[-1]
    grown = [worker for worker in now.workers if worker.is_booted and worker.has_grown]
    if not grown or len(now.workers) > now.target:
        return None  # Nobody to blame, or somebody is already on the way out.
    largest = max(grown, key=lambda worker: worker.uss_bytes)
    again = f"each replacement has soon grown to {format_bytes(largest.pss_bytes)} again"
    if permissions.resizing and permissions.churning and now.target > 1:
        wanted = workers_for(round(largest.pss_bytes / GROWTH_ALLOWANCE))
        if wanted < now.target:
            return Action(Kind.SHRINK, f"{again}, the plan is {wanted}")
    victim = _victim(history, grown, permissions, timing)
    if victim is None:
        return Action(Kind.KEEP, again, pid=largest.pid) if permissions.churning else None
    room = _has_room(history)
    booted = sum(worker.is_booted for worker in now.workers)
    if booted == 1 and not room and now.headroom_fraction >= CRITICAL_FRACTION:
        return None
    return Action(
        Kind.RECYCLE,
        f"{format_bytes(now.headroom_bytes)} left of {format_bytes(now.limit_bytes)}"
        f"{_forecast(history)}; it uses {format_bytes(victim.uss_bytes)}, "
        f"{format_bytes(victim.boot_uss_bytes or 0)} at boot",
        pid=victim.pid,
        replacement_first=room,
    )


def _victim(
    history: Sequence[Sample],
    grown: Sequence[WorkerSample],
    permissions: Permissions,
    timing: Timing,
) -> WorkerSample | None:
    """Return the largest that is old enough and grows on; a young one only if it cannot wait."""
    left = _seconds_left(history)
    steady = grown
    if permissions.churning or history[-1].headroom_fraction >= CRITICAL_FRACTION:
        # Another one in the place of one that ends its growth would grow to the same size.
        steady = [worker for worker in grown if not worker.is_slowing]
    if permissions.churning and _will_last(history):
        return None
    old = [worker for worker in steady if worker.age_seconds >= timing.min_age_seconds]
    if old:
        return max(old, key=lambda worker: worker.uss_bytes)
    if left is None or len(steady) < len(grown):
        return None  # A young one among others that end their growth will do so too.
    young = max(steady, key=lambda worker: worker.uss_bytes)
    waits_seconds = timing.min_age_seconds - young.age_seconds + END_SECONDS
    return young if left < waits_seconds else None


def _will_last(history: Sequence[Sample]) -> bool:
    """Whether a replacement would be up in time; one busy moment between two samples tells not."""
    enough = _replacement_seconds(history)
    pairs = [part for part in (history, history[:-1]) if len(part) > 1]
    return any((left := _seconds_left(pair)) is None or left >= enough for pair in pairs)


def _is_pressed(history: Sequence[Sample], timing: Timing) -> bool:
    """Whether the last sample's headroom is low, or gone before a replacement could be up."""
    if history[-1].headroom_fraction < timing.low_fraction:
        return True
    left = _seconds_left(history)
    return left is not None and left < _replacement_seconds(history)


def _has_freed(before: Sample, now: Sample) -> bool:
    """Whether a good part of the limit has become free, as when a worker ends."""
    return now.headroom_bytes - before.headroom_bytes > now.limit_bytes * CRITICAL_FRACTION


def _seconds_left(history: Sequence[Sample]) -> float | None:
    """When the headroom will be gone at the present rate; None where it does not shrink."""
    rate = _rate(history)
    return history[-1].headroom_bytes / rate if rate > 0 else None


def _rate(history: Sequence[Sample]) -> float:
    """Bytes a second by which the headroom shrinks, from the last two samples."""
    if len(history) < 2:
        return 0.0
    before, now = history[-2:]
    passed = now.at_seconds - before.at_seconds
    if passed <= 0 or before.limit_bytes != now.limit_bytes:
        return 0.0
    # What a worker takes to boot ends with its boot: that is no rate at which it goes on.
    booted = {worker.pid: worker.pss_bytes for worker in before.workers if worker.is_booted}
    earlier = {worker.pid: worker.pss_bytes for worker in before.workers}
    boots = sum(
        max(worker.pss_bytes - earlier.get(worker.pid, 0), 0)
        for worker in now.workers
        if worker.pid not in booted
    )
    return (before.headroom_bytes - now.headroom_bytes - boots) / passed


def _replacement_seconds(history: Sequence[Sample]) -> float:
    """How long until a replacement is up: two samples to decide, the old one's end, the boot."""
    slowest = max(worker.boot_seconds for worker in history[-1].workers)
    return 2 * slowest + DECISION_SECONDS


def _has_room(history: Sequence[Sample]) -> bool:
    """Whether one more worker can boot before the limit is reached."""
    now = history[-1]
    sizes = [worker.boot_uss_bytes for worker in now.workers if worker.boot_uss_bytes]
    if not sizes:
        return False
    grows = max(_rate(history), 0) * _replacement_seconds(history)
    left = now.headroom_bytes - max(sizes) * GROWTH_ALLOWANCE - grows
    return left > now.limit_bytes * CRITICAL_FRACTION / 2


def _forecast(history: Sequence[Sample]) -> str:
    left = _seconds_left(history)
    return f", gone in {left:.1f} s" if left is not None and left < 60 else ""
