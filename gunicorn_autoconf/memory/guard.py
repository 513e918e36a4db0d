"""
Memory history and plan to one action: keep, grow, shrink or recycle. Pure.

Theory of operation. Each call looks at the samples since the last action and returns one action, by
the first of these rules that applies:

1. A sample with a limit of 0 decides nothing: nothing that we could do would fit.
2. Shrink at once where OOM kills have shown the count to be too high (`steps`, `count`).
3. Shrink where workers have reached a size (`need`) of which fewer fit, whatever others use.
4. Recycle a worker that grows beyond what workers need while the memory runs out (`forecast`).
5. Shrink where the memory is gone because of what others use, if what workers free is enough. The
   count comes back by rule 6.
6. Grow on evidence of work: as many as run, where all have worked and stop growing; one where
   only their CPU time shows that. Before that one at a time, and only as far as the first guess (or
   what is declared) leaves room.

| threshold | value | reason |
|---|---|---|
| planned up to | 90 % of the limit | the reserve; rule 6 |
| too many from | 95 % of the limit | half a reserve above rule 6: no swinging; rule 3 |
| low | 10 % free | the reserve is in use: something has to go; rule 4 |
| critical | 5 % free | even the only worker may go before its replacement is there; rule 4 |
| gone | 2 % free | next is an OOM kill, whichever process took the memory; rule 5 |
| expected | need + 10 % until it is critical | real applications grew up to 12 %; rule 4 |
| decision | 2 s, and twice what samples are late by | two samples show it; rule 4 |
| last call | a decision + an end | then the worker drains; rule 4 |
| replacement | two boots + last call, at most 60 s | a longer forecast is wrong; rule 4 |

A worker that grows is not recycled where that would be in vain: as long as it needs no more than is
known to fit, while its growth slows down to what fits, and where its replacements grow back.
Keeping it stops rule 6, not rule 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind, Permissions
from gunicorn_autoconf.memory.count import give_way, grow, shrink
from gunicorn_autoconf.memory.forecast import is_short, loss, seconds_left
from gunicorn_autoconf.memory.need import Needed
from gunicorn_autoconf.memory.plans import Plans
from gunicorn_autoconf.memory.timing import DEFAULT, Timing
from gunicorn_autoconf.memory.why import GrowsBack, Leak
from gunicorn_autoconf.plan.budget import GROWTH_ALLOWANCE

CRITICAL_FRACTION = 0.05
EXPECTED_FACTOR = 1.10
# From the first sample that shows the need until the worker is told to exit, if both come in time.
DECISION_SECONDS = 2.0
HORIZON_SECONDS = 60.0
# What is still to come of a growth that slows down, as a multiple of the last quarter's.
REST_FACTOR = 2


def decide(
    history: Sequence[Sample],
    permissions: Permissions,
    needed: Needed,
    plans: Plans,
    timing: Timing = DEFAULT,
) -> Action:
    """
    Return the one thing to do after the last sample of *history*.

    Args:
        history: Samples since the last action, the newest last.
        permissions: What the guard may do.
        needed: What a worker needs.
        plans: How many workers are planned.
        timing: How patient the guard is, and how early it acts.
    """
    now = history[-1]
    if not now.workers or now.limit_bytes <= 0:
        return Action(Kind.KEEP)
    if fewer := shrink(history, permissions, needed, plans):
        return fewer
    one = _recycle(history, permissions, needed, plans, timing)
    if one and one.kind is not Kind.KEEP:
        return one
    return (
        give_way(history, permissions, needed, plans)
        or one
        or grow(now, permissions, needed, plans)
        or Action(Kind.KEEP)
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
    if len(history) < 2:
        return timing.booting_seconds  # The rate of growth is not known yet.
    left = seconds_left(history)
    if left is None:
        return usual
    # Two samples have to show it in time for an end, however long that takes.
    spare_seconds = (left - _last_call_seconds(now)) / 2
    return max(timing.fastest_seconds, min(usual, left / 8, spare_seconds))


def _recycle(
    history: Sequence[Sample],
    permissions: Permissions,
    needed: Needed,
    plans: Plans,
    timing: Timing,
) -> Action | None:
    """Replace the worker that grows beyond what it needs, where the memory soon will be gone."""
    now = history[-1]
    if len(history) < 2:
        return None  # One spike decides nothing.
    parts = (history, history[:-1])
    is_over = all(is_short(part, _last_call_seconds(now)) for part in parts)
    # Gunicorn has told the oldest to exit where there are too many, which may free enough; or hang.
    staying = sorted(now.workers, key=lambda worker: worker.age_seconds)[: now.target]
    grown = [worker for worker in staying if worker.is_booted and worker.has_grown]
    if not grown or (len(staying) < len(now.workers) and not is_over):
        return None
    if all(_is_pressed(part, timing) for part in parts):
        suspects = [worker for worker in grown if not _is_expected(worker, now, needed, plans)]
    elif all(is_short(part, _replacement_seconds(now)) for part in parts):
        # There is time to let its replacement boot first, if it is known to be a leak.
        suspects = [
            worker
            for worker in grown
            if (permissions.leaking or not plans.fits(worker.size_bytes, now.target))
            and not _is_expected(worker, now, needed, plans)
        ]
        grown = suspects
    else:
        return None
    if not grown:
        return None
    if permissions.churning and permissions.resizing and suspects and now.target > 1:
        # Recycles do not help: fewer may. What fits is left alone, to show what it comes to.
        size_bytes = max(worker.size_bytes for worker in suspects)
        wanted = max(plans.alone(size_bytes), 1)
        why = GrowsBack(size_bytes, wanted)
        return Action(Kind.SHRINK, why) if wanted < now.target else None
    victim = _victim(history, suspects, permissions, needed, timing)
    if victim is None:
        largest = max(grown, key=lambda worker: worker.freed_bytes)
        is_vain = permissions.churning or not suspects
        full = now.headroom_fraction < CRITICAL_FRACTION
        keep = Action(Kind.KEEP, GrowsBack(largest.size_bytes), pid=largest.pid)
        return keep if is_vain and full else None
    room = _has_room(history)
    booted = sum(worker.is_booted for worker in now.workers)
    if booted == 1 and not (room or is_over or now.headroom_fraction < CRITICAL_FRACTION):
        return None
    leak = Leak(
        headroom_bytes=now.headroom_bytes,
        limit_bytes=now.limit_bytes,
        left_seconds=seconds_left(history),
        uss_bytes=victim.uss_bytes,
        boot_uss_bytes=victim.boot_uss_bytes or 0,
        helper_bytes=victim.helper_bytes if victim.helpers else None,
    )
    return Action(Kind.RECYCLE, leak, pid=victim.pid, replacement_first=room)


def _is_expected(worker: WorkerSample, now: Sample, needed: Needed, plans: Plans) -> bool:
    """Whether *worker* is no larger than it has to be: a replacement would grow to this again."""
    factor = 1 if now.headroom_fraction < CRITICAL_FRACTION else EXPECTED_FACTOR
    if needed.is_proved and worker.size_bytes <= needed.reached * factor:
        return True
    peers = (other for other in now.workers if other != worker)
    if any(worker.size_bytes <= peer.size_bytes * factor and peer.is_slowing for peer in peers):
        return True
    if needed.is_proved and needed.declared is None:
        return False
    # The plan was made for this. Where it fits, a first warm-up towards it is no leak.
    return worker.size_bytes <= needed.first and plans.fits(needed.first, now.target)


def _victim(
    history: Sequence[Sample],
    suspects: Sequence[WorkerSample],
    permissions: Permissions,
    needed: Needed,
    timing: Timing,
) -> WorkerSample | None:
    """Return the largest that is old enough and grows on; a young one only if it cannot wait."""
    now = history[-1]
    last_call = _last_call_seconds(now)
    rest_bytes = REST_FACTOR * sum(worker.recent_bytes for worker in suspects if worker.is_slowing)
    steady = suspects
    if rest_bytes <= now.headroom_bytes:
        steady = [worker for worker in suspects if not worker.is_slowing]
    if permissions.churning and not is_short(history, _replacement_seconds(now)):
        return None
    if permissions.churning and not needed.killed:
        # One has to show where its growth ends: the only one, or one that boots for longer than it
        # serves.
        others = now.target > 1
        steady = [each for each in steady if others and each.life_seconds > each.boot_seconds]
    old = [worker for worker in steady if worker.age_seconds >= timing.min_age_seconds]
    if old:
        return max(old, key=lambda worker: worker.freed_bytes)
    if not steady or len(steady) < len(suspects):
        return None  # A young one among others that end their growth will do so too.
    young = max(steady, key=lambda worker: worker.freed_bytes)
    waits_seconds = timing.min_age_seconds - young.age_seconds + now.end_seconds
    return young if is_short(history, min(waits_seconds, 3 * last_call)) else None


def _is_pressed(history: Sequence[Sample], timing: Timing) -> bool:
    """Whether the last sample's headroom is low, or gone by the time that a worker has ended."""
    now = history[-1]
    return now.headroom_fraction < timing.low_fraction or is_short(history, _last_call_seconds(now))


def _last_call_seconds(now: Sample) -> float:
    """How long until a worker that is told to exit has ended."""
    decision_seconds = DECISION_SECONDS + 2 * now.late_seconds
    return min(decision_seconds + now.end_seconds, HORIZON_SECONDS)


def _replacement_seconds(now: Sample) -> float:
    """How long until a replacement is up: two samples to decide, the old one's end, the boot."""
    slowest = max(worker.boot_seconds for worker in now.workers)
    return min(2 * slowest + _last_call_seconds(now), HORIZON_SECONDS)


def _has_room(history: Sequence[Sample]) -> bool:
    """Whether one more worker can boot before the limit is reached."""
    now = history[-1]
    sizes = [worker.boot_uss_bytes for worker in now.workers if worker.boot_uss_bytes]
    if not sizes:
        return False
    seconds = _replacement_seconds(now)
    left = now.headroom_bytes - max(sizes) * GROWTH_ALLOWANCE - loss(history, seconds)
    return left > now.limit_bytes * CRITICAL_FRACTION / 2
