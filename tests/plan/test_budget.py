"""The memory budget: which level counts, who else uses it, what a worker needs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from builders import GIB, LEAF, MIB, POD, declare, limit, memory

from gunicorn_autoconf.machine.facts import MemorySupply
from gunicorn_autoconf.plan.budget import MemoryBudget, memory_budget


def budget_of(
    supply: MemorySupply, environ: Mapping[str, str] | None = None, measured: int | None = None
) -> MemoryBudget:
    budget = memory_budget(supply, declare(environ or {}), measured)
    assert budget is not None
    return budget


class TestReserve:
    @pytest.mark.parametrize(
        ("reserve", "reserve_bytes", "budget_bytes", "fits"),
        [
            ("", 107_374_183, 966_367_641, 3),  # 10 % unless told otherwise
            ("25%", 268_435_456, 805_306_368, 3),
            ("0", 0, 1_073_741_824, 4),
            ("0%", 0, 1_073_741_824, 4),
            ("768MiB", 805_306_368, 268_435_456, 1),
            ("769MiB", 806_354_944, 267_386_880, 0),
            ("2GiB", 2_147_483_648, 0, 0),
        ],
    )
    def test_of_one_gibibyte(
        self, reserve: str, reserve_bytes: int, budget_bytes: int, fits: int
    ) -> None:
        budget = budget_of(memory(GIB), {"GUNICORN_MEMORY_RESERVE": reserve})

        assert budget.reserve_bytes == reserve_bytes
        assert budget.budget_bytes == budget_bytes
        assert budget.fits == fits


class TestLimit:
    def test_physical_memory_where_there_is_no_other(self) -> None:
        budget = budget_of(memory(8 * GIB, in_use=2 * GIB), {"GUNICORN_MEMORY_RESERVE": "0"})
        assert budget.source == "/proc/meminfo"
        assert budget.limit_bytes == 8_589_934_592
        assert budget.others_bytes == 2_147_483_648
        assert budget.budget_bytes == 6_442_450_944
        assert budget.fits == 24

    def test_of_the_cgroup_is_lower_than_physical_memory(self) -> None:
        budget = budget_of(memory(8 * GIB, limit(GIB)))
        assert budget.source == f"{LEAF}/memory.max"
        assert budget.limit_bytes == 1_073_741_824
        assert budget.granted_bytes == 1_073_741_824

    def test_a_full_machine_leaves_less_than_a_roomy_cgroup(self) -> None:
        budget = budget_of(memory(8 * GIB, limit(2 * GIB), in_use=7 * GIB))
        assert budget.source == "/proc/meminfo"

    def test_a_sibling_eats_the_limit_of_the_parent(self) -> None:
        supply = memory(16 * GIB, limit(2 * GIB, 100 * MIB), limit(3 * GIB, 2560 * MIB, at=POD))
        budget = budget_of(supply, {"GUNICORN_MEMORY_RESERVE": "0"})
        assert budget.source == f"{POD}/memory.max"
        assert budget.others_bytes == 2_684_354_560
        assert budget.fits == 2
        assert budget.granted_bytes == 2_147_483_648

    def test_a_parent_with_room_does_not_matter(self) -> None:
        supply = memory(16 * GIB, limit(2 * GIB), limit(3 * GIB, 512 * MIB, at=POD))
        assert budget_of(supply).source == f"{LEAF}/memory.max"

    def test_nothing_known(self) -> None:
        assert memory_budget(memory(None), declare({})) is None

    def test_nothing_known_but_declared(self) -> None:
        budget = budget_of(memory(None), {"GUNICORN_MEMORY": "2GiB"})
        assert budget.source == "GUNICORN_MEMORY"
        assert budget.granted_bytes is None


class TestOthers:
    @pytest.mark.parametrize(
        ("in_use", "own", "others"),
        [
            (0, 0, 0),
            (300 * MIB, 0, 314_572_800),
            (300 * MIB, 100 * MIB, 209_715_200),
            (900 * MIB, 900 * MIB, 0),
            # PSS and the kernel's counter are read at different times.
            (900 * MIB, 901 * MIB, 0),
            (None, 0, 0),
            (None, 100 * MIB, 0),
        ],
    )
    def test_are_not_our_own_processes(self, in_use: int | None, own: int, others: int) -> None:
        assert budget_of(memory(None, limit(GIB, in_use), own=own)).others_bytes == others

    def test_own_processes_are_part_of_every_level(self) -> None:
        supply = memory(
            16 * GIB,
            limit(2 * GIB, 1536 * MIB),
            limit(2 * GIB, 1792 * MIB, at=POD),
            own=1536 * MIB,
        )
        budget = budget_of(supply)
        assert (budget.source, budget.others_bytes) == (f"{POD}/memory.max", 268_435_456)

    def test_do_not_count_against_what_was_declared(self) -> None:
        supply = memory(16 * GIB, limit(4 * GIB, 3 * GIB), in_use=15 * GIB)
        budget = budget_of(supply, {"GUNICORN_MEMORY": "2GiB", "GUNICORN_MEMORY_RESERVE": "0"})
        assert budget.others_bytes == 0
        assert budget.budget_bytes == 2_147_483_648


class TestWorkerMemory:
    @pytest.mark.parametrize(
        ("declared", "measured", "value", "source"),
        [
            ("", None, 268_435_456, "a guess until measured"),
            ("", 100 * MIB, 136_314_880, "measured 100 MiB x 1.3"),
            ("", 1, 2, "measured 0 MiB x 1.3"),
            ("", 0, 1, "measured 0 MiB x 1.3"),
            ("300MiB", None, 314_572_800, "GUNICORN_WORKER_MEMORY"),
            ("300MiB", 100 * MIB, 314_572_800, "GUNICORN_WORKER_MEMORY"),
        ],
    )
    def test_declared_then_measured_then_guessed(
        self, declared: str, measured: int | None, value: int, source: str
    ) -> None:
        budget = budget_of(memory(), {"GUNICORN_WORKER_MEMORY": declared}, measured)
        assert budget.worker_memory_bytes == value
        assert budget.worker_memory_source == source
        assert budget.is_guess is (not declared and measured is None)
