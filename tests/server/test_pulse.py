"""The arbiter's main loop as health answers see it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gunicorn_autoconf.server.snapshots import Pulse


def test_follows_the_main_loop() -> None:
    now, calls = [100.0], []
    server: Any = SimpleNamespace(
        maybe_promote_master=lambda: calls.append("round"),
        stop=lambda graceful=True: calls.append(f"stop {graceful}"),
    )
    pulse = Pulse(server, lambda: now[0])
    now[0] = 130.0
    assert (pulse.silent_seconds, pulse.is_stopping) == (30.0, False)

    server.maybe_promote_master()
    now[0] = 131.0
    assert (pulse.silent_seconds, pulse.is_stopping) == (1.0, False)

    server.stop(False)
    assert pulse.is_stopping
    assert calls == ["round", "stop False"]
