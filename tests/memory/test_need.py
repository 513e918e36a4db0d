"""What workers need, by what was seen of them. Sizes are in MiB."""

from __future__ import annotations

import pytest
from builders import MIB

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.need import Need, Needed

NEVER = Needed()


def worker(pid: int, uss: float, *, earlier: float | None = None, **changes: float) -> WorkerSample:
    """A worker that booted with 40 MiB; *earlier* is its size some time ago."""
    sizes = {"pss_bytes": uss, "boot_uss_bytes": 40, "helper_bytes": 0} | changes
    return WorkerSample(
        pid=pid,
        age_seconds=600,
        uss_bytes=round(uss * MIB),
        earlier_bytes=None if earlier is None else round(earlier * MIB),
        requests=100,
        **{name: round(size * MIB) for name, size in sizes.items()},
    )


def flat(pid: int, uss: float, **changes: float) -> WorkerSample:
    """One that has stopped growing."""
    return worker(pid, uss, earlier=uss + changes.get("helper_bytes", 0), **changes)


def seen(at: float, *workers: WorkerSample) -> Sample:
    return Sample(at, 1024 * MIB, 500 * MIB, target=len(workers), workers=workers)


def reached(need: Need, *history: Sample) -> float:
    """What is reached after each of *history* was seen."""
    for number in range(1, len(history) + 1):
        need.saw(history[:number])
    return need.needed(history, None).reached / MIB


class TestReached:
    @pytest.mark.parametrize(
        ("before", "now", "mib"),
        [
            pytest.param(worker(11, 40), worker(11, 40), 40, id="at boot"),
            pytest.param(worker(11, 40), worker(11, 60), 40, id="grows"),
            pytest.param(flat(11, 60), flat(11, 60), 60, id="flat"),
            pytest.param(worker(11, 60), flat(11, 60), 60, id="flat just now"),
            pytest.param(flat(11, 60), worker(11, 90, earlier=60), 40, id="a request takes much"),
            pytest.param(flat(11, 60), flat(11, 90), 60, id="one sample is no size"),
            pytest.param(flat(11, 90), flat(11, 60), 60, id="the lower one of two"),
            pytest.param(worker(11, 30), worker(11, 30), 30, id="what only the boot took"),
            pytest.param(flat(11, 60), flat(12, 60), 0, id="another worker"),
            pytest.param(flat(11, 60, pss_bytes=75), flat(11, 60, pss_bytes=75), 75, id="shares"),
            pytest.param(
                flat(11, 60, helper_bytes=30), flat(11, 60, helper_bytes=30), 90, id="helpers"
            ),
        ],
    )
    def test_in_two_samples(self, before: WorkerSample, now: WorkerSample, mib: float) -> None:
        assert reached(Need(), seen(0, before), seen(5, now)) == mib

    def test_nothing_on_one_sample(self) -> None:
        assert reached(Need(), seen(0, flat(11, 60))) == 0

    @pytest.mark.parametrize(
        ("life_seconds", "held_seconds", "mib"),
        [(16, 1.9, 60), (16, 2.1, 40), (240, 31, 40), (240, 61, 60), (3600, 59, 60)],
    )
    def test_not_while_requests_hang(
        self, life_seconds: float, held_seconds: float, mib: float
    ) -> None:
        """A leak grows no more either, until they end; what runs for a minute is a stream."""
        age = life_seconds + 2
        hangs = flat(11, 60)._replace(age_seconds=age, held_seconds=held_seconds)
        assert hangs.life_seconds == life_seconds
        assert reached(Need(), seen(0, hangs), seen(1, hangs)) == mib

    def test_by_a_leak_never(self) -> None:
        history = [seen(at, worker(11, 40 + at, earlier=40 + at * 0.75)) for at in range(0, 600, 5)]
        assert reached(Need(), *history) == 40

    def test_by_the_largest(self) -> None:
        fleet = flat(11, 60), flat(12, 90), flat(13, 50)
        assert reached(Need(), seen(0, *fleet), seen(5, *fleet)) == 90

    def test_by_a_predecessor(self) -> None:
        need = Need()
        old, new = flat(11, 90, pss_bytes=95), flat(12, 50)
        assert reached(need, seen(0, old), seen(5, old)) == 95
        # Its share of the common pages is not kept: others may share them.
        assert reached(need, seen(10, new), seen(15, new)) == 90

    def test_by_a_helper_while_it_is_there(self) -> None:
        need = Need()
        busy, alone = flat(11, 60, helper_bytes=200), flat(11, 60)
        assert reached(need, seen(0, busy), seen(5, busy)) == 260
        assert reached(need, seen(10, alone), seen(15, alone)) == 60

    def test_is_proved_by_work(self) -> None:
        need = Need()
        idle = flat(11, 60)._replace(requests=0)
        assert reached(need, seen(0, idle), seen(5, idle)) == 60
        assert not need.needed((seen(5, idle),), None).is_proved
        reached(need, seen(10, flat(11, 60)), seen(15, flat(11, 60)))
        assert need.needed((seen(15, idle),), None).is_proved


class TestKilled:
    def test_last_size_counts_for_an_hour(self) -> None:
        need = Need()
        need.oom_killed(flat(11, 150, helper_bytes=50), 100)
        need.oom_killed(None, 110)
        need.oom_killed(flat(12, 90), 120)
        assert need.needed((seen(3699, flat(13, 40)),), None).killed == 200 * MIB
        assert need.needed((seen(3701, flat(13, 40)),), None).killed == 90 * MIB
        assert need.needed((seen(3721, flat(13, 40)),), None).killed == 0


@pytest.mark.parametrize(
    ("needed", "first", "largest"),
    [
        (NEVER, 256, 0),
        (NEVER._replace(reached=60 * MIB), 256, 60),
        (NEVER._replace(reached=60 * MIB, killed=90 * MIB), 256, 90),
        (NEVER._replace(declared=100 * MIB), 100, 100),
        (NEVER._replace(declared=100 * MIB, reached=160 * MIB), 100, 160),
    ],
)
def test_what_the_count_is_planned_for(needed: Needed, first: int, largest: int) -> None:
    assert needed.first == first * MIB
    assert needed.largest == largest * MIB
