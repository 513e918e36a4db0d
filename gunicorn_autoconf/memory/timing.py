"""How patient the memory guard is, and how early it acts, as one value. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gunicorn_autoconf.fleet.sample import MIN_AGE_SECONDS

# With less than this share of the limit free, a worker has to go.
LOW_FRACTION = 0.10


class Timing(NamedTuple):
    """
    The waiting times and thresholds of the guard and of the watch over quotas.

    Nothing but a test needs other than the defaults.

    Attributes:
        min_age_seconds: No worker is recycled before this age unless memory would run out.
        low_fraction: With less than this share of the limit free, a worker has to go.
        slowest_seconds: Time between two samples while nothing happens.
        booting_seconds: Time between two samples while workers boot.
        fastest_seconds: Time between two samples while the limit is near.
        patience_seconds: How long to wait for a worker to boot, and for Gunicorn to handle a signal
            that was sent to it. A worker that was told to exit is waited for: Gunicorn ends it.
        retry_seconds: Time until the next sample after one that failed.
        claim_seconds: An OOM kill that no worker's end follows within this time was that of
            another process.
        quota_seconds: Over how long the work of CPU quotas is summed.
    """

    min_age_seconds: float = MIN_AGE_SECONDS
    low_fraction: float = LOW_FRACTION
    slowest_seconds: float = 5.0
    booting_seconds: float = 1.0
    fastest_seconds: float = 0.5
    patience_seconds: float = 60.0
    retry_seconds: float = 5.0
    claim_seconds: float = 10.0
    quota_seconds: float = 60.0


DEFAULT = Timing()
