"""The load as the log shows it. Pure."""

from __future__ import annotations

from gunicorn_autoconf.load.capacity import Bound, Load

PREFIX = "gunicorn-autoconf: "

_BOUND = {
    Bound.CORES: "bound by cores",
    Bound.SLOTS: "bound by slots",
    Bound.MEMORY: "bound by memory",
    Bound.LOOP: "bound by event loops",
    Bound.DATABASE: "bound by GUNICORN_MAX_CONCURRENCY",
}


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
        parts.append(f"loops {load.loop_fraction * 100:.0f} % busy")
    parts.append(f"cores {load.cores_fraction * 100:.0f} %")
    if load.queue_seconds is not None:
        parts.append(f"{render_duration(load.queue_seconds)} queued")
    if load.waiting is not None and round(load.waiting):
        parts.append(f"{load.waiting:.0f} waiting")
    if load.rejected:
        parts.append(f"{load.rejected} refused")
    bound = _BOUND.get(load.bound_by)
    return PREFIX + ", ".join(parts) + (f": {bound}" if bound else "")


def load_fields(load: Load) -> dict[str, object]:
    """Return what `render_load` says, as fields of a record."""
    return {
        "seconds": round(load.seconds, 1),
        "workers": load.workers,
        "requests": load.requests,
        "requests_per_second": round(load.rate, 3),
        "request_seconds": _rounded(load.request_seconds),
        "computing_seconds": _rounded(load.computing_seconds),
        "cpu_delay_seconds": _rounded(load.delay_seconds),
        "busy_slots": round(load.busy_slots, 3),
        "slots": load.slots,
        "cores": load.cores,
        "cores_fraction": round(load.cores_fraction, 4),
        "loop_fraction": _rounded(load.loop_fraction),
        "waiting": _rounded(load.waiting),
        "queue_seconds": _rounded(load.queue_seconds),
        "rejected": load.rejected,
        "stalls": load.stalls,
        "bound_by": load.bound_by.value,
    }


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


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
