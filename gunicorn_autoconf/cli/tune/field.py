"""The candidates: the plan, what runs now, and the neighbours that could be better. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.model import COMPUTES, WAITS
from gunicorn_autoconf.load.capacity import Bound
from gunicorn_autoconf.worker_classes import GTHREAD, SYNC, UVICORN, Interface

# Gunicorn's own class for ASGI, from Gunicorn 24 on.
NATIVE_ASGI = "asgi"

# The steps in which threads are tried.
_THREADS = (2, 4, 8, 16, 32, 64, 100, 128)
_POOLS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """
    What decides which candidates are worth a look.

    Attributes:
        most_workers: As many as memory and the declared bounds allow.
        most_slots: The declared bound on workers times threads; None without.
        compute_fraction: The part of a request's time that it computes, as the first measurement
            has shown; None where there was none.
        bound: What bounds the first candidate; None where it could not be measured.
        has_native_asgi: Whether the installed Gunicorn has the worker class ``asgi``.
    """

    cores: float
    interface: Interface
    has_threads: bool
    most_workers: int
    most_slots: int | None = None
    compute_fraction: float | None = None
    bound: Bound | None = None
    has_native_asgi: bool = False

    @property
    def needs_cores(self) -> bool:
        """Whether more workers than for the usual plan, or threads, would only take turns."""
        return self.bound is Bound.CORES or (self.compute_fraction or 0.0) > COMPUTES

    @property
    def waits(self) -> bool:
        """Whether requests leave one worker a core mostly idle."""
        share = self.compute_fraction
        return not self.needs_cores and share is not None and share < WAITS


def neighbours(given: Iterable[Candidate], grounds: Grounds) -> list[Candidate]:
    """Return those *given* and their neighbours, the most promising first, none twice."""
    found: dict[tuple[str, int, int], Candidate] = {}
    of_interface = _wsgi if grounds.interface is Interface.WSGI else _asgi
    for each in (*given, *of_interface(grounds)):
        fits = each.workers <= grounds.most_workers
        if grounds.most_slots is not None:
            fits = fits and each.workers * each.threads <= grounds.most_slots
        if fits or each in given:
            found.setdefault((each.worker_class, each.workers, each.threads), each)
    return list(found.values())


def _counts(grounds: Grounds) -> list[int]:
    """Return the counts of workers, those of the usual formulas first."""
    cores, whole = grounds.cores, math.ceil(grounds.cores)
    counts = [whole, math.floor(2 * cores) + 1, whole + 1, 4 * whole + 1, 1, 3 * whole]
    if grounds.needs_cores:
        counts = [count for count in counts if count <= math.floor(2 * cores) + 1]
    elif grounds.waits:
        counts.sort(reverse=True)
        counts = [count for count in counts if count > whole] + [whole]
    return list(dict.fromkeys(min(count, grounds.most_workers) for count in counts))


def _wsgi(grounds: Grounds) -> Iterator[Candidate]:
    threaded = list(_threaded(grounds)) if grounds.has_threads else []
    sync = [Candidate(worker_class=SYNC, workers=count) for count in _counts(grounds)]
    # Where requests wait, threads are the cheaper slots.
    first, second = (threaded, sync) if grounds.waits else (sync, threaded)
    for index in range(max(len(first), len(second))):
        yield from first[index : index + 1]
        yield from second[index : index + 1]


def _threaded(grounds: Grounds) -> Iterator[Candidate]:
    """Yield gthread with the threads that fill the cores, and with about twice as many."""
    whole = math.ceil(grounds.cores)
    workers = [min(count, grounds.most_workers) for count in (whole + 1, whole, 2 * whole + 1)]
    slots = grounds.cores / max(grounds.compute_fraction or 0.05, 1e-3)
    # What is bound by cores needs no more threads than fill them.
    for steps in (0,) if grounds.needs_cores else (1, 0):
        for count in dict.fromkeys(workers):
            first = next(
                (index for index, threads in enumerate(_THREADS) if threads * count >= slots),
                len(_THREADS) - 1,
            )
            threads = _THREADS[min(first + steps, len(_THREADS) - 1)]
            if grounds.most_slots is not None:
                threads = min(threads, grounds.most_slots // count)
            if threads > 1:
                yield Candidate(worker_class=GTHREAD, workers=count, threads=threads)


def _asgi(grounds: Grounds) -> Iterator[Candidate]:
    counts = _counts(grounds)
    for count in counts[:2]:
        yield Candidate(worker_class=UVICORN, workers=count)
    if grounds.waits or (grounds.compute_fraction is None and not grounds.needs_cores):
        for count in counts[:2]:
            yield Candidate(worker_class=UVICORN, workers=count, threads=_POOLS)
    for count in counts[2:]:
        yield Candidate(worker_class=UVICORN, workers=count)
    if grounds.has_native_asgi:
        for count in counts[:2]:
            yield Candidate(worker_class=NATIVE_ASGI, workers=count)
