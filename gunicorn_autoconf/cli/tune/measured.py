"""All that is known of one candidate so far. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.outcome import Failure, Outcome


@dataclass(slots=True, kw_only=True)
class Measured:
    """
    What its blocks came to.

    Attributes:
        scores: The rate within the limit, of each outcome.
        failure: Why it was not measured any more.
    """

    candidate: Candidate
    outcomes: list[Outcome] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    failure: Failure | None = None

    @property
    def score(self) -> float | None:
        """The median score; None where it has none."""
        return statistics.median(self.scores) if self.scores else None
