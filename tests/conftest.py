"""Options, and fixtures that more than one test module uses."""

from __future__ import annotations

import compileall
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cgroups import Cgroup, limited
from columns import render_columns
from harness import Launcher, launching
from hypothesis import settings

import gunicorn_autoconf

# How long an example takes says nothing on a machine that is busy with servers. Every run has the
# same examples, so that what is red is red by what was changed.
settings.register_profile("unhurried", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("unhurried")

# Under nohup, SIGHUP is ignored here and in all that is started here; some tests send it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos", "the tests in tests/chaos")
    group.addoption(
        "--chaos-seconds",
        metavar="N",
        type=float,
        default=0.0,
        help="go on for so long for each worker class; every fault comes once at least",
    )
    group.addoption(
        "--chaos-seed",
        metavar="N",
        type=int,
        default=1,
        help="gives the order and the times of the faults",
    )
    group.addoption(
        "--chaos-report",
        metavar="FOLDER",
        help="keep each worker class's summary, log and journal there",
    )


def pytest_configure(config: pytest.Config) -> None:
    """
    Compile the package once: some hundred processes import it.

    None of them would where PYTHONDONTWRITEBYTECODE is set, as in many containers, and in our
    servers, whose applications are edited.
    """
    if not hasattr(config, "workerinput"):  # Not again in each process of `-n 4`.
        compileall.compile_dir(Path(gunicorn_autoconf.__file__).parent, quiet=2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """
    Let a process that is done take tests from another one.

    By itself `-n 4` deals them out in large portions, of which one may be all of the slow ones.
    """
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Have all processes of `-n 4` but the last begin with the tests that boot a server.

    These wait for most of their time, and the others compute. In the order of the files first all
    processes would want a CPU at once, and later none of them. xdist gives each process an equal
    part of the list, and takes from the end of a part for a process that is done with its own.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes == 1:
        return
    waiting = [item for item in items if item.get_closest_marker("server")]
    hands = [*(waiting[first :: processes - 1] for first in range(processes - 1)), []]
    for item in items:
        if not item.get_closest_marker("server"):
            min(hands, key=len).append(item)
    items[:] = [item for hand in hands for item in hand]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what each worker class has lived through, side by side."""
    columns = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "chaos"
    ]
    if columns:
        terminalreporter.section("chaos")
        terminalreporter.write_line(render_columns(columns))


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Launcher]:
    """Starts the real server; what still runs at the end must stop cleanly."""
    with launching(tmp_path) as launcher:
        yield launcher


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A memory cgroup with a limit of 300 MiB."""
    with limited("memory", memory_bytes=300 * 1024 * 1024) as made:
        yield made


@pytest.fixture
def confined(cgroup: Cgroup, gunicorn: Launcher) -> Launcher:
    """Starts the server in *cgroup*; it is stopped before that is removed."""
    return replace(gunicorn, wrapper=cgroup.wrapper)


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop that the worker runs."""
    name: str = request.param
    if name == "uvloop":
        pytest.importorskip("uvloop")
    return name
