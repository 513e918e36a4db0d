"""Options, and fixtures that more than one test module uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from server import Launcher

# How long an example takes says nothing on a machine that is busy with servers.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


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


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Launcher]:
    """Starts the real server; what still runs at the end must stop cleanly."""
    launcher = Launcher(folder=tmp_path, servers=[])
    yield launcher
    with ExitStack() as each_of_them:
        for server in launcher.servers:
            # pytest shows this beside a failure, and only there.
            print(f"--- {server.log_path}\n{server.log}")
            each_of_them.callback(server.close)
