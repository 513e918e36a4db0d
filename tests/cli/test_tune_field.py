"""Which candidates `tune` looks at, and what it reads from what runs now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gunicorn_autoconf.cli.tune.asked import parse_command
from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.field import Grounds, neighbours
from gunicorn_autoconf.cli.tune.model import bound_of, describe_bounds, describe_request
from gunicorn_autoconf.cli.tune.noise import CpuClock, disturbance, drift
from gunicorn_autoconf.cli.tune.outcome import Outcome
from gunicorn_autoconf.cli.tune.server import reason_in
from gunicorn_autoconf.load.capacity import Bound
from gunicorn_autoconf.worker_classes import UVICORN, Interface

PLAN = Candidate(worker_class="sync", workers=5)
WSGI = Grounds(cores=2.0, interface=Interface.WSGI, has_threads=False, most_workers=9)
ASGI = replace(WSGI, interface=Interface.ASGI, has_native_asgi=True)


def labels(grounds: Grounds, *given: Candidate) -> list[str]:
    return [each.label for each in neighbours(given or [PLAN], grounds)]


def test_sync_only_without_a_word_on_threads() -> None:
    assert labels(WSGI) == ["sync 5", "sync 2", "sync 3", "sync 9", "sync 1", "sync 6"]


def test_requests_that_compute_need_no_more_than_the_usual_plan() -> None:
    computes = replace(WSGI, has_threads=True, compute_fraction=0.95)

    assert labels(computes) == [
        *("sync 5", "sync 2", "gthread 3 x 2", "gthread 2 x 2"),
        *("sync 3", "gthread 5 x 2", "sync 1"),
    ]


def test_what_is_bound_by_cores_needs_no_more_threads() -> None:
    """Requests wait for most of their time, but as many ran at once as fill the cores."""
    waits = replace(WSGI, has_threads=True, compute_fraction=0.2)
    full = replace(waits, bound=Bound.CORES)

    assert "gthread 3 x 8" in labels(waits)
    assert labels(full) == [
        *("sync 5", "sync 2", "gthread 3 x 4", "gthread 2 x 8"),
        *("sync 3", "gthread 5 x 2", "sync 1"),
    ]


def test_requests_that_wait_need_threads() -> None:
    """2 cores, 2 % computing: 100 requests at once fill them."""
    waits = replace(WSGI, has_threads=True, compute_fraction=0.02)

    assert labels(waits)[:5] == [
        "sync 5",
        "gthread 3 x 100",
        "sync 9",
        "gthread 2 x 100",
        "sync 6",
    ]
    assert {"gthread 3 x 64", "gthread 2 x 64", "gthread 5 x 32", "gthread 5 x 64"} <= set(
        labels(waits)
    )
    assert "sync 1" not in labels(waits)


def test_memory_and_bounds_hold() -> None:
    tight = replace(WSGI, has_threads=True, most_workers=3, most_slots=40, compute_fraction=0.05)

    found = labels(tight, Candidate(worker_class="sync", workers=3))

    assert found == ["sync 3", "gthread 3 x 13", "gthread 2 x 20", "sync 2"]


def test_asgi() -> None:
    plan = Candidate(worker_class=UVICORN, workers=5)

    assert labels(replace(ASGI, compute_fraction=0.9), plan) == [
        *("uvicorn 5", "uvicorn 2", "uvicorn 3", "uvicorn 1", "asgi 2", "asgi 5"),
    ]
    assert labels(replace(ASGI, compute_fraction=0.1), plan) == [
        *("uvicorn 5", "uvicorn 9", "uvicorn 6", "uvicorn 9, pools 100", "uvicorn 6, pools 100"),
        *("uvicorn 3", "uvicorn 2", "asgi 9", "asgi 6"),
    ]


def test_current_comes_first_and_is_never_dropped() -> None:
    current = Candidate(worker_class="gevent", workers=30)

    assert labels(WSGI, current, PLAN)[:2] == ["gevent 30", "sync 5"]


@pytest.mark.parametrize(
    ("text", "environ", "arguments"),
    [
        ("gunicorn app:app", {}, ("app:app",)),
        ("/srv/venv/bin/gunicorn -w 4 'my app:app'", {}, ("-w", "4", "my app:app")),
        ("A=1 B='x y' python3.12 -m gunicorn a:b", {"A": "1", "B": "x y"}, ("a:b",)),
        ("python -u /srv/venv/bin/gunicorn a:b", {}, ("a:b",)),
    ],
)
def test_current(text: str, environ: dict[str, str], arguments: tuple[str, ...]) -> None:
    command = parse_command(text)

    assert (command.environ, command.arguments) == (environ, arguments)


@pytest.mark.parametrize("text", ["", "uvicorn app:app", "python app.py", "A=1", "'"])
def test_no_current(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$|quotation"):
        parse_command(text)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", ""),
        ("Traceback\n  File x\nModuleNotFoundError: No module named 'shop'\n[..] bye", None),
        ("[2026] [7] [ERROR] Worker (pid:8) was sent SIGKILL!", "Worker (pid:8) was sent SIGKILL!"),
        ("Error: 'x' is no option", "Error: 'x' is no option"),
        ("django.core.exceptions.ImproperlyConfigured: SECRET_KEY\n", None),
        ("only text", "only text"),
    ],
)
def test_reason_in_a_log(log: str, reason: str | None) -> None:
    expected = {
        "Traceback": "ModuleNotFoundError: No module named 'shop'",
        "django.core": "django.core.exceptions.ImproperlyConfigured: SECRET_KEY",
    }

    if reason is None:
        reason = next(text for start, text in expected.items() if log.startswith(start))
    assert reason_in(log) == reason


GTHREAD = Candidate(worker_class="gthread", workers=2, threads=8)
USE = Outcome(capacity=100.0, clients=8, cpu_cores=0.5)


@pytest.mark.parametrize(
    ("candidate", "use", "cores", "bound"),
    [
        (GTHREAD, replace(USE, cpu_cores=1.72), 1.9, Bound.CORES),
        (GTHREAD, replace(USE, capacity=138.0), 1.9, Bound.SLOTS),
        (GTHREAD, USE, 1.9, Bound.NOTHING),
        (GTHREAD, replace(USE, is_load_bound=True), 1.9, None),
        (replace(GTHREAD, workers=1), replace(USE, cpu_cores=0.95), 4.0, Bound.LOOP),
        (
            Candidate(worker_class=UVICORN, workers=2),
            replace(USE, capacity=9e3),
            1.9,
            Bound.NOTHING,
        ),
        (Candidate(worker_class=UVICORN, workers=1), replace(USE, cpu_cores=0.9), 1.9, Bound.LOOP),
    ],
)
def test_bound(candidate: Candidate, use: Outcome, cores: float, bound: Bound | None) -> None:
    """As a running server logs it: the same code, the same limits."""
    assert bound_of(candidate, use, cores, takes_seconds=0.1) is bound


def test_bounds_in_words() -> None:
    one, large = replace(GTHREAD, workers=1, threads=2), replace(GTHREAD, threads=64)
    loops = Candidate(worker_class=UVICORN, workers=1)
    rows = [
        (large, Bound.NOTHING),
        (GTHREAD, Bound.SLOTS),
        (one, Bound.LOOP),
        (PLAN, None),
        (loops, Bound.LOOP),
    ]

    threads = (
        "gthread is bound by processes (the GIL) up to 1 x 2, by slots from 2 x 8, by something "
        "else from 2 x 64 on."
    )
    assert set(describe_bounds(rows)) == {
        threads,
        "sync is bound by the load.",
        "uvicorn is bound by event loops.",
        "Something else is a database, a lock, the GIL or another service.",
    }
    sentence = "A request computes 3 ms of its 104 ms: it mostly waits."
    assert describe_request(0.003, 0.104) == sentence
    assert describe_request(None, 0.1) is None


def test_bounds_that_size_does_not_order() -> None:
    found = describe_bounds(
        (replace(GTHREAD, threads=threads), bound)
        for threads, bound in ((2, Bound.NOTHING), (4, Bound.CORES), (8, Bound.NOTHING))
    )

    assert next(found) == "gthread is bound by something else: 2 x 2, 2 x 8; by cores: 2 x 4."


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (CpuClock(100, 99, 0, 99), 0.0),
        (CpuClock(100, 90, 10, 80), 0.2),
        (CpuClock(100, 60, 0, 10), 0.0),  # 40 % was idle: nothing was taken from us
        (CpuClock(0, 0, 0, 0), 0.0),
    ],
)
def test_disturbance(after: CpuClock, expected: float) -> None:
    assert disturbance(CpuClock(0, 0, 0, 0), after) == pytest.approx(expected)


def test_drift() -> None:
    assert drift([1.0]) == drift([1.0, 1.0, 1.0]) == 0.0
    assert drift([1.0, 1.3, 1.0, 1.3, 1.0, 1.3]) == pytest.approx(0.193, abs=0.001)
