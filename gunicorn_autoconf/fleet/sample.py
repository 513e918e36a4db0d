"""Workers, their helpers and the limit above them, as they were seen at one time. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gunicorn_autoconf.units import MIB

# A worker is left alone while it is younger: it still fills its caches.
MIN_AGE_SECONDS = 10.0
# How much a worker must have grown since its boot before a recycle is worth anything.
GROWN_FRACTION = 0.25
GROWN_BYTES = 8 * MIB
# A worker that grew less than this share of its growth in the last quarter of its life is flat:
# large, but no leak. A leak grows by a quarter of its growth in that time.
FLAT_FRACTION = 0.05
# One below this share is about to be flat.
SLOWING_FRACTION = 0.15
# Growth by less than this share of its size is the allocator's noise.
NOISE_FRACTION = 0.01
# How long a replacement is taken to boot while none was seen to.
BOOT_SECONDS = 2.0
# How long a worker takes to drain and exit while none was seen to.
END_SECONDS = 2.0
# A worker that has answered so many requests shows the size that it works with ...
WORKED_REQUESTS = 20
# ... and so does one that has had traffic for so long.
WORKED_SECONDS = 60.0


class WorkerSample(NamedTuple):
    """
    One worker as it was seen at one time.

    All sizes include what is swapped out: it comes back as soon as it is used.
    """

    pid: int
    age_seconds: float
    uss_bytes: int
    pss_bytes: int
    boot_uss_bytes: int | None = None
    """Its own size when it could serve; None until then."""
    boot_seconds: float = BOOT_SECONDS
    earlier_bytes: int | None = None
    """What its end would have freed when three quarters of its life since the boot had passed."""
    helper_bytes: int = 0
    """What its child processes use, and theirs."""
    helpers: int = 0
    """How many these are."""
    requests: int | None = None
    """How many requests it has answered; None where its class does not count them."""
    traffic_seconds: float = 0.0
    """The time since it was first seen to have answered one, or that its CPU time shows it busy."""
    held_seconds: float = 0.0
    """For how long requests have run and none has ended; 0 where none runs."""

    @property
    def size_bytes(self) -> int:
        """What it uses together with its helpers; shared pages count by share."""
        return self.pss_bytes + self.helper_bytes

    @property
    def freed_bytes(self) -> int:
        """What its end would free; its helpers end with it."""
        return self.uss_bytes + self.helper_bytes

    @property
    def growth_bytes(self) -> int:
        """What it has grown since its boot, its helpers included."""
        return self.freed_bytes - (self.boot_uss_bytes or self.freed_bytes)

    @property
    def is_booted(self) -> bool:
        """Whether it can serve."""
        return self.boot_uss_bytes is not None

    @property
    def state(self) -> Literal["booting", "ready"]:
        """How it is called where workers are shown."""
        return "ready" if self.is_booted else "booting"

    @property
    def has_worked(self) -> bool:
        """Whether its size is that of a worker at work: an idle size is no size."""
        if not self.is_booted:
            return False
        has_answered = self.requests is not None and self.requests >= WORKED_REQUESTS
        return has_answered or self.traffic_seconds >= WORKED_SECONDS

    @property
    def has_grown(self) -> bool:
        """Whether it is well beyond its size at boot."""
        boot_bytes = self.boot_uss_bytes or self.uss_bytes
        return self.growth_bytes >= max(boot_bytes * GROWN_FRACTION, GROWN_BYTES)

    @property
    def recent_bytes(self) -> int:
        """What it has grown in the last quarter of its life since the boot."""
        return 0 if self.earlier_bytes is None else max(self.freed_bytes - self.earlier_bytes, 0)

    @property
    def is_flat(self) -> bool:
        """Whether it has come to the end of its growth."""
        return self._grew_lately_at_most(FLAT_FRACTION)

    @property
    def is_slowing(self) -> bool:
        """Whether its growth comes to an end."""
        return self._grew_lately_at_most(SLOWING_FRACTION)

    @property
    def is_held_up(self) -> bool:
        """
        Whether its requests hang, for half of the time by which its growth is judged.

        It grows no more, and would with the next request. What runs for a minute is a stream.
        """
        return self.life_seconds / 8 <= self.held_seconds < WORKED_SECONDS

    @property
    def life_seconds(self) -> float:
        """For how long it could serve."""
        return self.age_seconds - self.boot_seconds

    def _grew_lately_at_most(self, fraction: float) -> bool:
        if not self.is_booted or self.earlier_bytes is None:
            return False
        if self.life_seconds < MIN_AGE_SECONDS or self.is_held_up:
            return False
        noise_bytes = self.freed_bytes * NOISE_FRACTION
        return self.recent_bytes <= max(self.growth_bytes * fraction, noise_bytes)


class Helper(NamedTuple):
    """A process that the application has started, by a worker, the arbiter or another helper."""

    pid: int
    name: str
    worker: int | None
    """The worker that it descends from; None for the arbiter's own."""
    rss_bytes: int
    """What it used when it was last seen."""


class Sample(NamedTuple):
    """All workers and the limit above them at one time, in seconds of a clock that never jumps."""

    at_seconds: float
    limit_bytes: int
    headroom_bytes: int
    """Limit less what is in use, page cache aside, at the level that leaves least."""
    target: int
    """How many workers there are to be."""
    workers: tuple[WorkerSample, ...]
    end_seconds: float = END_SECONDS
    """How long workers took lately from SIGTERM to their end."""
    late_seconds: float = 0.0
    """How much later than they were due samples came lately."""

    @property
    def headroom_fraction(self) -> float:
        """The share of the limit that is free; 0 or less where nothing is."""
        return self.headroom_bytes / self.limit_bytes if self.limit_bytes > 0 else 0.0

    @property
    def is_settled(self) -> bool:
        """Whether all workers that are to be are there, booted, and no other."""
        return len(self.workers) == self.target and all(w.is_booted for w in self.workers)
