"""What the log says of the GIL on a free-threaded Python, by a faked interpreter."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from builders import WSGI

from gunicorn_autoconf.server.gil import Gil, GilWatch

# As CPython 3.13 and 3.14 warn.
WARNING = (
    "The global interpreter lock (GIL) has been enabled to load module 'shop._fast', which has not "
    "declared that it can run safely without the GIL. To override this behavior and keep the GIL "
    "disabled (at your own risk), run with PYTHON_GIL=0 or -Xgil=0."
)
FREE, ON = Gil(can_be_off=True, is_on=False), Gil(can_be_off=True, is_on=True)


def worker(age: int = 1) -> Any:
    return SimpleNamespace(age=age, log=logging.getLogger("gil"))


def test_extension_that_turned_the_gil_on_is_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    watch = GilWatch(FREE)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # catch_warnings puts the original back; the watch chains what it found.
        warnings.warn("something else", RuntimeWarning, stacklevel=1)
        warnings.warn(WARNING, RuntimeWarning, stacklevel=1)
    assert shown == ["something else", WARNING]

    for age in (1, 2):
        watch.report(worker(age), None, ON)

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "importing shop._fast has turned it on" in record.getMessage()
    assert "PYTHON_GIL=0" in record.getMessage()
    assert record.__dict__["enabled_by"] == "shop._fast"


@pytest.mark.parametrize(("knows", "advises"), [(False, True), (True, False)])
def test_gil_that_is_off(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    knows: bool,
    advises: bool,
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    caplog.set_level(logging.INFO)
    GilWatch(FREE).report(worker(), replace(WSGI, runs_without_gil=knows), FREE)

    (record,) = caplog.records
    assert record.getMessage().startswith("gunicorn-autoconf: Python runs without the GIL")
    assert ("preload_app" in record.getMessage()) is advises


def test_warning_that_was_ignored_leaves_the_extension_unnamed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    GilWatch(FREE).report(worker(), None, ON)
    assert "an extension has turned it on" in caplog.text


def test_other_builds_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = warnings.showwarning
    GilWatch(Gil()).report(worker(), None, Gil())
    assert warnings.showwarning is before
    assert not caplog.records


@pytest.mark.parametrize(
    ("gil", "stays_off"),
    [
        (Gil(can_be_off=True, is_on=False, is_kept_off=True), True),
        (Gil(can_be_off=True, is_on=False), False),  # The next import may turn it on.
        (Gil(can_be_off=True, is_on=True), False),
        (Gil(), False),
    ],
)
def test_when_it_is_certain_before_the_import(gil: Gil, *, stays_off: bool) -> None:
    assert gil.stays_off is stays_off
