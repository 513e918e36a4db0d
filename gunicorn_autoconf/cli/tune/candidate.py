"""One configuration that may be the best: worker class, workers, threads. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gunicorn_autoconf.worker_classes import Slots, family_of

PLAN, CURRENT, NEIGHBOUR = "plan", "current", "neighbour"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """
    Which workers to run.

    Attributes:
        worker_class: As Gunicorn takes it.
        threads: Of each worker; for an event loop the size of its pools, 1 leaves them as they are.
        origin: Where it comes from: the plan, what runs now, or a neighbour of the plan.
    """

    worker_class: str
    workers: int
    threads: int = 1
    origin: str = NEIGHBOUR

    @property
    def label(self) -> str:
        """
        What the table calls it.

        >>> Candidate(worker_class="gthread", workers=3, threads=100).label
        'gthread 3 x 100'
        """
        name = self.class_label
        if self.threads == 1:
            return f"{name} {self.workers}"
        if self.slots is None:
            return f"{name} {self.workers}, pools {self.threads}"
        return f"{name} {self.workers} x {self.threads}"

    @property
    def class_label(self) -> str:
        """
        The worker class in one word.

        Gunicorn itself runs sync with threads as gthread.
        """
        family = family_of(self.worker_class, self.threads)
        if family and family.runs_uvicorn:
            return "uvicorn"
        return family.name if family else self.worker_class.rpartition(".")[2]

    @property
    def slots(self) -> int | None:
        """How many requests it serves at once; None where nothing bounds them."""
        family = family_of(self.worker_class, self.threads)
        if family and family.slots is Slots.ONE:
            return self.workers
        if family and family.slots is Slots.THREADS:
            return self.workers * self.threads
        return None

    @property
    def settings(self) -> dict[str, str | int]:
        """Gunicorn's settings by name."""
        return {
            "worker_class": self.worker_class,
            "workers": self.workers,
            "threads": self.threads,
        }

    @property
    def arguments(self) -> list[str]:
        """The same as arguments of Gunicorn's command line."""
        words = (("--" + name.replace("_", "-"), str(v)) for name, v in self.settings.items())
        return [word for pair in words for word in pair]
