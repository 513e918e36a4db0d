"""When it is certain before an application is imported that Python runs without the GIL."""

from __future__ import annotations

import pytest

from gunicorn_autoconf.server.gil import Gil


@pytest.mark.parametrize(
    ("gil", "stays_off"),
    [
        (Gil(is_on=False, is_kept_off=True), True),
        (Gil(is_on=False), False),  # The next import may turn it on.
        (Gil(is_on=True), False),
    ],
)
def test_when_it_is_certain_before_the_import(gil: Gil, *, stays_off: bool) -> None:
    assert gil.stays_off is stays_off
