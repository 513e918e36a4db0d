"""What probes are answered: whether the arbiter lives, and whether the server can serve. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gunicorn_autoconf.metrics.snapshot import State
from gunicorn_autoconf.server.answers import Answer

# With `preload_app` a reload imports the application in the main loop, and imports of 290 s were
# seen. To wait that long costs little: workers go on to serve without the arbiter.
ALIVE_SECONDS = 300.0


def livez(silent_seconds: float, *, is_stopping: bool) -> Answer:
    """
    Answer whether the arbiter's main loop runs, whose last round began so many seconds ago.

    One that was told to stop waits for its workers, in no round.
    """
    if is_stopping:
        return Answer(200, b"stopping\n")
    if silent_seconds < ALIVE_SECONDS:
        return Answer(200, b"ok\n")
    text = f"the arbiter's main loop has not run for {silent_seconds:.0f} s\n"
    return Answer(503, text.encode())


def readyz(workers: Mapping[State, int], *, is_stopping: bool) -> Answer:
    """Answer whether at least one of the *workers* serves and the server does not stop."""
    if is_stopping:
        return Answer(503, b"stopping\n")
    if workers.get(State.READY):
        return Answer(200, b"ok\n")
    booting, draining = workers.get(State.BOOTING, 0), workers.get(State.DRAINING, 0)
    text = f"no worker is ready: {booting} booting, {draining} draining\n"
    return Answer(503, text.encode())
