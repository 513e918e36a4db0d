"""What ``memory.pressure`` says."""

from __future__ import annotations

import pytest

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine.pressure import Pressure, parse_pressure


@pytest.mark.parametrize("text", ["some avg10=0.00", "some total=x", "full total=-1\n"])
def test_pressure_that_no_kernel_writes(text: str) -> None:
    with pytest.raises(MalformedFileError):
        parse_pressure(text)


def test_pressure_of_an_older_kernel_has_no_full() -> None:
    assert parse_pressure("some avg10=0.00 total=1000000\n") == Pressure(1.0, 0.0)
