"""`top` and `tune` end in order when they are killed, and go on under nohup."""

from __future__ import annotations

import os
import signal

import pytest

from gunicorn_autoconf.cli.end_signals import end_signals_raise


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_ends_the_block_in_order(number: signal.Signals, status: int) -> None:
    before = signal.getsignal(number)

    with pytest.raises(SystemExit) as raised, end_signals_raise():
        os.kill(os.getpid(), number)

    assert raised.value.code == status
    assert signal.getsignal(number) is before


def test_signal_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with end_signals_raise():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
