"""The workers and the limit above them, as they were seen at one time. Pure."""

from __future__ import annotations

from typing import NamedTuple

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
# How long a replacement is taken to boot while none was seen to.
BOOT_SECONDS = 2.0


class WorkerSample(NamedTuple):
    """One worker as it was seen at one time."""

    pid: int
    age_seconds: float
    uss_bytes: int
    pss_bytes: int
    boot_uss_bytes: int | None = None
    """Its size when it had booted; None until then."""
    boot_seconds: float = BOOT_SECONDS
    earlier_uss_bytes: int | None = None
    """Its size when it was three quarters as old."""

    @property
    def growth_bytes(self) -> int:
        """What it has grown since its boot."""
        return self.uss_bytes - (self.boot_uss_bytes or self.uss_bytes)

    @property
    def is_booted(self) -> bool:
        """Whether it has told its size after its boot."""
        return self.boot_uss_bytes is not None

    @property
    def has_grown(self) -> bool:
        """Whether it is well beyond its size at boot."""
        boot_bytes = self.boot_uss_bytes or self.uss_bytes
        return self.growth_bytes >= max(boot_bytes * GROWN_FRACTION, GROWN_BYTES)

    @property
    def is_flat(self) -> bool:
        """Whether it has come to the end of its growth."""
        return self._grew_lately_at_most(FLAT_FRACTION)

    @property
    def is_slowing(self) -> bool:
        """Whether its growth comes to an end."""
        return self._grew_lately_at_most(SLOWING_FRACTION)

    def _grew_lately_at_most(self, fraction: float) -> bool:
        if self.earlier_uss_bytes is None or self.age_seconds < MIN_AGE_SECONDS:
            return False
        lately = self.uss_bytes - self.earlier_uss_bytes
        return lately <= max(self.growth_bytes, 0) * fraction


class Sample(NamedTuple):
    """All workers and the limit above them at one time, in seconds of a clock that never jumps."""

    at_seconds: float
    limit_bytes: int
    headroom_bytes: int
    """Limit less what is in use, page cache aside, at the level that leaves least."""
    target: int
    """How many workers there are to be."""
    workers: tuple[WorkerSample, ...]

    @property
    def headroom_fraction(self) -> float:
        """The share of the limit that is free, 0 to 1."""
        return self.headroom_bytes / self.limit_bytes if self.limit_bytes else 1.0

    @property
    def is_settled(self) -> bool:
        """Whether all workers that are to be are there, booted, and no other."""
        return len(self.workers) == self.target and all(w.is_booted for w in self.workers)
