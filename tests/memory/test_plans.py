"""How many workers are planned, beside others and alone. Sizes are in MiB."""

from __future__ import annotations

import pytest
from builders import GIB, MIB, declare, limit, machine, memory

from gunicorn_autoconf.memory.plans import Plans, budget_beside, plans_for

CPU = {"GUNICORN_WORKLOAD": "cpu"}


def plans(environ: dict[str, str], in_use: int = 0, own: int = 0, host: int = 0) -> Plans:
    """Of a limit of 1 GiB on a host with 16 GiB, of which *host* are in use."""
    supply = memory(16 * GIB, limit(GIB, in_use * MIB), in_use=host * MIB, own=own * MIB)
    return plans_for(machine(8, supply=supply), declare(CPU | environ))


@pytest.mark.parametrize(
    ("size", "in_use", "own", "beside", "alone"),
    [
        (100, 0, 0, 8, 8),
        (150, 0, 0, 6, 6),
        (150, 500, 500, 6, 6),
        (150, 500, 200, 4, 6),
        (150, 1000, 100, 1, 6),
        (2000, 0, 0, 1, 1),
    ],
)
def test_workers_of_a_size(size: int, in_use: int, own: int, beside: int, alone: int) -> None:
    """921.6 MiB are for workers; others take what is in use and not ours."""
    found = plans({}, in_use, own)
    assert found.beside(size * MIB) == beside
    assert found.alone(size * MIB) == alone
    assert found.budget_bytes == 966_367_641


def test_what_was_measured_counts_whatever_is_declared() -> None:
    """The guard takes the larger one."""
    assert plans({"GUNICORN_WORKER_MEMORY": "400MiB"}).alone(200 * MIB) == 4


def test_bounds_hold() -> None:
    bounded = plans({"GUNICORN_MIN_WORKERS": "2", "GUNICORN_MAX_WORKERS": "3"})
    assert [bounded.beside(size * MIB) for size in (50, 400, 900)] == [3, 2, 2]


def test_full_host_does_not_count_where_there_is_a_limit() -> None:
    assert plans({}, host=16_000).beside(100 * MIB) == 8
    supply = memory(16 * GIB, limit(GIB), in_use=16_000 * MIB)
    budget = budget_beside(machine(8, supply=supply), declare({}))
    assert budget is not None
    assert budget.budget_bytes == 966_367_641


def test_fits() -> None:
    found = plans({}, in_use=900)
    assert found.fits(307 * MIB, 3)
    assert not found.fits(308 * MIB, 3)
