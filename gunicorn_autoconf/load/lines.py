"""The load as the log shows it. Pure."""

from __future__ import annotations

import math

from gunicorn_autoconf.load.capacity import Bound, Load
from gunicorn_autoconf.load.evidence import Request
from gunicorn_autoconf.load.follow import Cause, Change
from gunicorn_autoconf.load.verdict import Cause as VerdictCause
from gunicorn_autoconf.load.verdict import Verdict
from gunicorn_autoconf.units import plural, rounded

PREFIX = "gunicorn-autoconf: "

_BOUND = {
    Bound.CORES: "bound by cores",
    Bound.SLOTS: "bound by slots",
    Bound.MEMORY: "bound by memory",
    Bound.LOOP: "bound by event loops",
    Bound.ONE_LOOP: "bound by one event loop",
    Bound.DATABASE: "bound by GUNICORN_MAX_CONCURRENCY",
}


def bound_text(bound: Bound, *, has_loop: bool) -> str | None:
    """
    Return what bounds a server, in words; None for nothing.

    >>> bound_text(Bound.LOOP, has_loop=True)
    'bound by event loops'
    """
    if bound is Bound.LOOP and not has_loop:
        return "bound by processes (the GIL)"
    return _BOUND.get(bound)


def render_load(load: Load) -> str:
    """Return the line of an interval."""
    parts = [f"load {_few(load.rate)}/s"]
    if load.request_seconds is not None:
        computing = load.computing_seconds
        of_it = "" if computing is None else f" ({render_duration(computing)} computing)"
        parts.append(f"{render_duration(load.request_seconds)} each{of_it}")
    if load.slots is None:
        parts.append(f"{_few(load.busy_slots)} at once")
    else:
        parts.append(f"{_few(load.busy_slots)} of {load.slots} slots busy")
    if load.loop_fraction is not None:
        # Kept connections all stay where they were accepted: one worker may have most of them.
        one = f", one {load.busiest_fraction * 100:.0f} %" if load.is_uneven else ""
        parts.append(f"loops {load.loop_fraction * 100:.0f} % busy{one}")
    parts.append(f"cores {load.cores_fraction * 100:.0f} %")
    if load.queue_seconds is not None:
        parts.append(f"{render_duration(load.queue_seconds)} queued")
    if load.waiting is not None and round(load.waiting):
        parts.append(f"{load.waiting:.0f} waiting")
    if load.rejected:
        parts.append(f"{load.rejected} refused")
    bound = bound_text(load.bound_by, has_loop=load.loop_fraction is not None)
    return PREFIX + ", ".join(parts) + (f": {bound}" if bound else "")


def load_fields(load: Load) -> dict[str, object]:
    """Return what `render_load` says, as fields of a record."""
    return {
        "seconds": round(load.seconds, 1),
        "workers": load.workers,
        "requests": load.requests,
        "requests_per_second": round(load.rate, 3),
        "request_seconds": rounded(load.request_seconds),
        "computing_seconds": rounded(load.computing_seconds),
        "cpu_delay_seconds": rounded(load.delay_seconds),
        "busy_slots": round(load.busy_slots, 3),
        "slots": load.slots,
        "cores": load.cores,
        "cores_fraction": round(load.cores_fraction, 4),
        "loop_fraction": rounded(load.loop_fraction),
        "busiest_loop_fraction": rounded(
            None if load.loop_fraction is None else load.busiest_fraction
        ),
        "waiting": rounded(load.waiting),
        "queue_seconds": rounded(load.queue_seconds),
        "rejected": load.rejected,
        "bound_by": load.bound_by.value,
    }


def render_verdict(verdict: Verdict) -> str:
    """Return the line of a verdict: what was measured, what it costs, what to do."""
    request, serving = verdict.request, verdict.serving
    whole, computing = request.whole_seconds, request.computing_seconds
    could = f"{_two_digits(verdict.could_per_second)}/s"
    most = f"{plural(serving.cores, 'core')} up to {could}"
    now = f"{_two_digits(verdict.now_per_second)}/s"
    if verdict.cause is VerdictCause.BLOCKS:
        blocking = render_duration(request.blocking_seconds or 0.0)
        return (
            f"{PREFIX}requests block their event loop for {blocking} and compute for "
            f"{render_duration(computing)} of it: {plural(serving.workers, 'event loop')} "
            f"can answer {now}, {most}; move the waiting calls to threads, or await them"
        )
    if verdict.cause is VerdictCause.POOL:
        return (
            f"{PREFIX}requests wait for a thread of a pool and compute for "
            f"{render_duration(computing)}: {serving.pool_threads} "
            f"threads can answer {now}, more up to {could}; {_remedy(verdict)}"
        )
    slots = serving.workers * (serving.slots or 1)
    each = "" if serving.slots == 1 else f", {slots} requests at once,"
    if not verdict.is_cores:
        most = f"more threads up to {could}"
    return (
        f"{PREFIX}requests compute {render_duration(computing)} of their {render_duration(whole)}: "
        f"{plural(serving.workers, 'worker')}{each} can answer {now}, {most}; "
        f"{_remedy(verdict)} if your code is thread-safe"
    )


def render_change(change: Change, *, would: bool = False) -> str:
    """Return the line of another count of workers."""
    guard = "load guard would" if would else "load guard:"
    old, new = change.before, change.workers
    if change.cause is Cause.IN_VAIN:
        after, before = _two_digits(change.load.rate), _two_digits(change.rate_before)
        return (
            f"{PREFIX}{guard} go back from {old} to {new} workers: {old} answer {after}/s, "
            f"fewer answered {before}/s; not tried again for an hour"
        )
    if change.cause is Cause.QUIET:
        return (
            f"{PREFIX}{guard} shrink from {old} to {new} workers: little load for 10 minutes, "
            f"the plan is {change.planned}"
        )
    load = change.load
    waiting = f", {load.waiting:.0f} waiting" if load.waiting else ""
    connections = (
        "" if change.connections is None else f"; up to {change.connections} database connections"
    )
    return (
        f"{PREFIX}{guard} grow from {old} to {new} workers: all are busy, "
        f"cores {load.cores_fraction * 100:.0f} %{waiting}{connections}"
    )


def change_fields(change: Change) -> dict[str, object]:
    """Return what `render_change` says, as fields of a record."""
    return {
        "cause": change.cause.value,
        "before_workers": change.before,
        "workers": change.workers,
        "planned_workers": change.planned,
        "requests_per_second": round(change.load.rate, 3),
        "cores_fraction": round(change.load.cores_fraction, 4),
        "waiting": rounded(change.load.waiting),
    }


def verdict_fields(verdict: Verdict) -> dict[str, object]:
    """Return what `render_verdict` says, as fields of a record."""
    return {
        "cause": verdict.cause.value,
        "workload": verdict.workload and verdict.workload.value,
        **request_fields(verdict.request),
        "requests_per_second": round(verdict.now_per_second, 3),
        "possible_per_second": round(verdict.could_per_second, 3),
    }


def request_fields(request: Request) -> dict[str, object]:
    """Return what is known of the mean request."""
    return {
        "requests": request.requests,
        "request_seconds": rounded(request.whole_seconds),
        "computing_seconds": rounded(request.computing_seconds),
        "blocking_seconds": rounded(request.blocking_seconds),
    }


def _remedy(verdict: Verdict) -> str:
    if verdict.workload is None:
        return f"set threads to {verdict.threads}"
    return f"set GUNICORN_WORKLOAD={verdict.workload.value}"


def _two_digits(count: float) -> str:
    """
    Return a number with its first two digits: more is not known.

    >>> _two_digits(667.3), _two_digits(48.1), _two_digits(0.512), _two_digits(12345)
    ('670', '48', '0.51', '12,000')
    """
    if count <= 0:
        return "0"
    digits = 1 - math.floor(math.log10(count))
    return f"{round(count, digits):,.{max(digits, 0)}f}"


def render_duration(seconds: float) -> str:
    """
    Return a time with two digits or more.

    >>> render_duration(0.1041), render_duration(0.00312), render_duration(12.3)
    ('104 ms', '3.1 ms', '12 s')
    """
    if seconds >= 1:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    milliseconds = seconds * 1e3
    if milliseconds >= 9.95:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds:.1f} ms" if milliseconds >= 0.995 else f"{milliseconds:.2f} ms"


def _few(count: float) -> str:
    """
    Return a mean, with a digit after the point where it is small.

    >>> _few(46.2), _few(0.31), _few(4.98), _few(0)
    ('46', '0.3', '5', '0')
    """
    return f"{count:.0f}" if count >= 10 or abs(count - round(count)) < 0.05 else f"{count:.1f}"
