"""
Workload ``auto`` on one arbiter: asks how many workers the load needs, says or does it. Logs.

Theory of operation. The supervisor asks `decide` at each step at which memory needs nothing and no
action is under way, so memory comes first and there is one action at a time. It carries the action
out by the executor that the memory guard has, too. All state is in `Follow`, which decides, and in
what was said last; only the supervisor's thread uses it, and a reload begins it anew while that
thread is paused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.load.follow import (
    BUSY_SECONDS,
    MOST_TIMES_PLANNED,
    Cause,
    Change,
    Follow,
    Limits,
)
from gunicorn_autoconf.load.lines import change_fields, render_change
from gunicorn_autoconf.memory.actions import Action, Kind, Permissions
from gunicorn_autoconf.memory.count import have_worked
from gunicorn_autoconf.memory.plans import Plans, budget_beside, plans_for
from gunicorn_autoconf.memory.timing import LOW_FRACTION
from gunicorn_autoconf.plan.bounds import load_guard_mode
from gunicorn_autoconf.plan.workload import LoadGuard

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

    from gunicorn_autoconf.fleet.sample import Sample
    from gunicorn_autoconf.machine.facts import Machine
    from gunicorn_autoconf.server.load_watch import LoadWatch
    from gunicorn_autoconf.server.planned import Planned

# What would be done is said again after so long.
AGAIN_SECONDS = 600.0


class Room(NamedTuple):
    """What memory grants, as the memory guard sees it."""

    sample: Sample
    machine: Machine
    size_bytes: int
    """What a worker is taken to need before there are more of them."""
    needed_bytes: int
    """What workers are known to need; 0 where nothing is known. Never more than *size_bytes*."""
    permissions: Permissions

    @property
    def has_evidence(self) -> bool:
        """Whether the workers have shown what they need."""
        return have_worked(self.sample, leaking=self.permissions.leaking)

    def is_full(self, budget_bytes: int) -> bool:
        """Whether memory has no room for one worker more; a guess of what one needs is no bound."""
        known_bytes = self.size_bytes if self.has_evidence else self.needed_bytes
        return bool(known_bytes) and budget_bytes // known_bytes <= self.sample.target


class LoadFollower:
    """Lets the count of one arbiter's workers follow its load."""

    def __init__(
        self,
        server: Arbiter,
        final: Callable[[], Planned],
        load: LoadWatch,
        replaced: Callable[[], Sequence[str]],
    ) -> None:
        """Prepare; *replaced* returns the names of our hooks that the user's own replace."""
        self._server = server
        self._final = final
        self._load = load
        self._replaced = replaced
        self.begin_again()

    def begin_again(self) -> None:
        """Forget what was measured of the workers that a reload replaces."""
        self._follow = Follow()
        self._said_at: dict[Cause, float] = {}
        self._seen_at: float | None = None

    @property
    def mode(self) -> LoadGuard:
        """What may be done. To act, we must be told of each worker and each new count."""
        final = self._final()
        wanted = load_guard_mode(final.machine, final.declaration)
        is_blind = wanted is LoadGuard.ACT and self._replaced()
        return LoadGuard.OBSERVE if is_blind or self._server.master_pid != 0 else wanted

    def keeps(self, *, resizing: bool) -> int:
        """Return how many workers the load has asked for; 0 where the count is not ours."""
        return self._server.num_workers if resizing and self.mode is LoadGuard.ACT else 0

    def decide(self, room: Room) -> Action | None:
        """Return what the load asks for, where that is to be done; log it."""
        mode, now = self.mode, room.sample.at_seconds
        budget = budget_beside(room.machine, self._final().declaration)
        self._load.memory_forbids = budget is not None and room.is_full(budget.budget_bytes)
        seen_at, self._seen_at = self._seen_at, self._load.at_seconds
        lately = self._load.last(BUSY_SECONDS)
        if mode is LoadGuard.OFF or lately is None or seen_at == self._seen_at:
            return None
        self._follow.saw(now, lately)
        if not (room.permissions.resizing and room.sample.is_settled):
            return None
        settled_seconds = self._follow.settled_seconds(now)
        since_step = self._load.last(settled_seconds) if settled_seconds else None
        change = self._follow.decide(now, lately, since_step, self._limits(room))
        if change is None:
            return None
        if mode is not LoadGuard.ACT:
            if now - self._said_at.get(change.cause, -AGAIN_SECONDS) >= AGAIN_SECONDS:
                self._said_at[change.cause] = now
                self._say(change, would=True)
            return None
        self._follow.changed(now, change)
        self._say(change, would=False)
        if change.workers > change.before:
            return Action(Kind.GROW, add=change.workers - change.before)
        return Action(Kind.SHRINK, remove=change.before - change.workers)

    def _limits(self, room: Room) -> Limits:
        """Between which counts the load may choose, after memory and all bounds."""
        final, target = self._final(), room.sample.target

        def plans(load_workers: int) -> Plans:
            return plans_for(
                room.machine, final.declaration, final.application, load_workers=load_workers
            )

        # The memory guard itself goes up to no more than this, and keeps it whatever others use and
        # however new a worker is: what is planned is never one too many for want of load.
        planned = plans(0).alone(room.needed_bytes or room.size_bytes)
        most = plans(planned * MOST_TIMES_PLANNED).beside(room.size_bytes)
        if room.permissions.most is not None:
            most = min(most, room.permissions.most)
        if not room.permissions.growing or room.sample.headroom_fraction < LOW_FRACTION:
            most = min(most, target)
        return Limits(target, planned, most, is_guess=not room.has_evidence)

    def _say(self, change: Change, *, would: bool) -> None:
        log_event(
            self._server.log,
            "info",
            "load_guard",
            render_change(change, would=would),
            only_observes=would,
            **change_fields(change),
        )
