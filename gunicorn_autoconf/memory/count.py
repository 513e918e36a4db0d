"""When there are to be more workers or fewer: the guard's rules 2, 3, 5 and 6. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind, Permissions
from gunicorn_autoconf.memory.need import Needed
from gunicorn_autoconf.memory.plans import Plans
from gunicorn_autoconf.memory.why import Crowded, Needs, NoWorkYet, Room
from gunicorn_autoconf.plan.budget import GROWTH_ALLOWANCE

GONE_FRACTION = 0.02
# Workers smaller by this factor would have to fit for a count to be kept: 95 % of the limit.
SLACK = 0.90 / 0.95


def shrink(
    history: Sequence[Sample], permissions: Permissions, needed: Needed, plans: Plans
) -> Action | None:
    """Retire one where the sizes that were seen, or OOM kills, show that fewer fit."""
    now = history[-1]
    if not permissions.resizing or now.target < 2:
        return None
    too_many = permissions.too_many
    if too_many and too_many.fits < now.target:
        return Action(Kind.SHRINK, too_many)
    if not now.is_settled or not needed.reached or len(history) < 2:
        return None
    if history[-2].limit_bytes != now.limit_bytes:
        return None  # A limit that shows once may be gone with the next sample.
    size_bytes = max(needed.reached, needed.declared or 0)
    wanted = max(plans.alone(round(size_bytes * SLACK)), 1)
    return Action(Kind.SHRINK, Needs(size_bytes, wanted)) if wanted < now.target else None


def give_way(
    history: Sequence[Sample], permissions: Permissions, needed: Needed, plans: Plans
) -> Action | None:
    """Retire one where the memory is gone, and our workers alone would fit."""
    now = history[-1]
    if not permissions.resizing or now.target < 2 or not now.is_settled or len(history) < 2:
        return None
    if any(sample.headroom_fraction >= GONE_FRACTION for sample in history[-2:]):
        return None
    wanted = max(plans.beside(needed.largest), 1)
    if wanted >= now.target:
        return None
    # Gunicorn retires the oldest first.
    oldest = sorted(now.workers, key=lambda worker: -worker.age_seconds)
    freed_bytes = sum(worker.freed_bytes for worker in oldest[: now.target - wanted])
    if now.headroom_bytes + freed_bytes < now.limit_bytes * GONE_FRACTION:
        return None  # Little of a worker is its own, or others took too much: it would not help.
    own_bytes = sum(worker.size_bytes for worker in now.workers)
    others_bytes = max(now.limit_bytes - now.headroom_bytes - own_bytes, 0)
    why = Crowded(max(now.headroom_bytes, 0), now.limit_bytes, others_bytes, wanted)
    return Action(Kind.SHRINK, why)


def grow(now: Sample, permissions: Permissions, needed: Needed, plans: Plans) -> Action | None:
    """Add workers where more are planned."""
    if not (permissions.resizing and permissions.growing and now.is_settled):
        return None
    has_evidence = have_worked(now, leaking=permissions.leaking)
    size_bytes = size_to_grow_by(now, permissions, needed)
    wanted = plans.beside(size_bytes)
    if permissions.most is not None:
        wanted = min(wanted, permissions.most)
    if wanted <= now.target:
        return None
    if not has_evidence:
        return Action(Kind.GROW, NoWorkYet(wanted), add=1)
    # Without a count of requests the evidence is weaker: one at a time.
    most = now.target if all(worker.requests is not None for worker in now.workers) else 1
    return Action(Kind.GROW, Room(size_bytes, wanted), add=min(most, wanted - now.target))


def size_to_grow_by(now: Sample, permissions: Permissions, needed: Needed) -> int:
    """Return what each worker is taken to need before there are more of them."""
    if have_worked(now, leaking=permissions.leaking):
        return max(needed.largest, *(_with_growth(worker) for worker in now.workers))
    # Before there is evidence, no idle worker is small: the first guess holds.
    return max(needed.largest, needed.first)


def _with_growth(worker: WorkerSample) -> int:
    """What one like *worker* may come to: as it is where that has proved to be flat."""
    return round(worker.size_bytes * (1 if worker.is_flat else GROWTH_ALLOWANCE))


def have_worked(now: Sample, *, leaking: bool) -> bool:
    """Whether all workers have worked and stop growing; half of them where one leaks for ever."""
    known = sum(worker.has_worked and worker.is_slowing for worker in now.workers)
    return known == now.target or (leaking and known * 2 >= now.target)
