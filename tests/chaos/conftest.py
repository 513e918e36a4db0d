"""How long the chaos lasts, by which seed, and where its report goes."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption(
        "--chaos-seconds",
        type=float,
        default=0.0,
        help="how long faults go on for each worker class; every kind comes once at least",
    )
    group.addoption("--chaos-seed", type=int, default=1, help="gives the order of the faults")
    group.addoption("--chaos-report", metavar="FOLDER", help="where each class writes its summary")
