"""The inverse of the plan: what it takes to run workers or to serve a load."""

from __future__ import annotations

import math
from collections.abc import Mapping

import click
import pytest
from builders import GIB, MIB, limit, machine, memory, plan_for
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gunicorn_autoconf.cli.size.requirements import read_requirements
from gunicorn_autoconf.cli.size.sizing import Sizing, size
from gunicorn_autoconf.cli.size.steps import Step
from gunicorn_autoconf.cli.size.text import render_sizing, sizing_json, with_numbers
from gunicorn_autoconf.errors import AutoconfError, DeclarationError
from gunicorn_autoconf.plan.plan import Plan


def size_for(**options: str | int) -> Sizing:
    """What `size` answers to options as a user types them."""
    return size(
        read_requirements(
            {f"--{name.replace('_', '-')}": str(text) for name, text in options.items()}
        )
    )


def plan_on(
    sizing: Sizing,
    *,
    cores: float | None = None,
    limit_bytes: int | None = None,
    others_bytes: int | None = None,
    measured: int | None = None,
) -> Plan:
    """The plan in one of the answer's containers, or in one that was given something else."""
    granted = limit(
        sizing.memory_limit_bytes if limit_bytes is None else limit_bytes,
        sizing.requirements.others_bytes if others_bytes is None else others_bytes,
    )
    pod = machine(
        1024,
        quota=sizing.counts.cores if cores is None else cores,
        supply=memory(1024 * 1024 * GIB, granted),
        container=True,
        platform="kubernetes",
    )
    return plan_for(sizing.variables, None, on=pod, measured=measured)


def connections(count: int) -> str:
    return (
        f"each thread may hold a connection to a database: up to {count:,}; "
        "GUNICORN_MAX_CONCURRENCY bounds them in each replica"
    )


def planned(plan: Plan) -> tuple[int, int, str]:
    settings = plan.settings
    return settings["workers"], settings["threads"], settings["worker_class"]


def answered(sizing: Sizing) -> tuple[int, int, str]:
    return sizing.counts.workers, sizing.counts.threads, sizing.counts.shape.worker_class


COMMON = {
    "workload": st.sampled_from(["cpu", "mixed", "io", "async"]),
    "interface": st.sampled_from(["auto", "asgi", "wsgi"]),
    "worker_memory": st.integers(MIB, 8 * GIB) | st.sampled_from(["180MiB", "0.5G", "100MB"]),
    "memory_reserve": st.sampled_from(["0", "0%", "7%", "12.5%", "33.3%", "95%", "64MiB"]),
    "others": st.sampled_from(["0", "20MiB", "100MB", "3GiB"]),
}
WORKERS = st.fixed_dictionaries({"workers": st.integers(1, 400)}, optional=COMMON)
LOADS = st.fixed_dictionaries(
    {
        "rate": st.floats(0.01, 3000).map(lambda rate: f"{rate:.3f}"),
        "latency": st.integers(1, 3000).map(lambda ms: f"{ms}ms"),
        "compute": st.integers(1, 300).map(lambda ms: f"{ms}ms"),
    },
    optional={
        **COMMON,
        "cpus_per_replica": st.integers(50, 8000).map(lambda milli: f"{milli}m"),
        "target_utilisation": st.integers(10, 90).map(lambda percent: f"{percent}%"),
    },
)


def seconds(load: Mapping[str, object], name: str) -> float:
    return int(str(load[name]).removesuffix("ms")) / 1000


def is_possible(load: Mapping[str, object]) -> bool:
    return seconds(load, "compute") <= seconds(load, "latency")


class TestPlanAgrees:
    """Planning with what `size` answers gives the workers that were asked for."""

    @given(options=WORKERS)
    def test_workers(self, options: dict[str, str | int]) -> None:
        sizing = size_for(**options)

        plan = plan_on(sizing)

        assert planned(plan) == answered(sizing)
        assert sizing.counts.workers == options["workers"]
        assert not [warning for warning in plan.warnings if "exceed" in warning]

    @given(workers=st.integers(1, 400), threads=st.integers(1, 300))
    @example(workers=4, threads=1)
    @pytest.mark.parametrize("workload", [None, "mixed", "io", "async"])
    def test_threads(self, workload: str | None, workers: int, threads: int) -> None:
        declared: dict[str, str | int] = {} if workload is None else {"workload": workload}
        sizing = size_for(workers=workers, threads=threads, **declared)

        worker_class = "gunicorn_autoconf.workers.ThreadWorker" if threads > 1 else "sync"
        assert planned(plan_on(sizing)) == answered(sizing) == (workers, threads, worker_class)

    @given(load=LOADS.filter(is_possible))
    def test_load(self, load: dict[str, str | int]) -> None:
        sizing = size_for(**load)

        assert planned(plan_on(sizing)) == answered(sizing)

    @given(load=LOADS.filter(is_possible))
    def test_load_is_served(self, load: dict[str, str | int]) -> None:
        sizing = size_for(**load)
        rate, latency, compute = (
            float(load["rate"]),
            seconds(load, "latency"),
            seconds(load, "compute"),
        )
        busy = sizing.requirements.utilisation * (1 + 1e-6)

        assert rate * compute <= sizing.counts.replicas * sizing.counts.cores * busy
        if sizing.requirements.interface.value == "wsgi":
            places = sizing.counts.replicas * sizing.counts.workers * sizing.counts.threads
            assert rate * latency <= places * busy

    @given(load=LOADS.filter(is_possible))
    def test_a_replica_has_no_more_workers_than_its_cores_or_gunicorn_need(
        self, load: dict[str, str | int]
    ) -> None:
        sizing = size_for(**load)
        by_rule = math.floor(2 * sizing.counts.cores) + 1  # The workload's rule that has the most.

        assert sizing.counts.workers <= max(12, by_rule)

    @given(options=WORKERS, measured=st.integers(0, 16 * GIB))
    def test_whatever_workers_are_measured_to_use(
        self, options: dict[str, str | int], measured: int
    ) -> None:
        assume("worker_memory" in options)
        sizing = size_for(**options)

        assert planned(plan_on(sizing, measured=measured)) == answered(sizing)

    @given(options=WORKERS)
    def test_when_others_use_less(self, options: dict[str, str | int]) -> None:
        sizing = size_for(**options)

        assert planned(plan_on(sizing, others_bytes=0)) == answered(sizing)


class TestLessIsTooLittle:
    """With one step less of memory or cores there are fewer workers."""

    @given(options=WORKERS)
    def test_memory(self, options: dict[str, str | int]) -> None:
        sizing = size_for(**options)
        less = sizing.memory_limit_bytes - 16 * MIB

        plan = plan_on(sizing, limit_bytes=less)

        if sizing.counts.workers > 1:
            assert plan.settings["workers"] < sizing.counts.workers
        else:
            assert [warning for warning in plan.warnings if "exceeds the memory" in warning]

    @given(options=WORKERS)
    def test_cores(self, options: dict[str, str | int]) -> None:
        assume(options["workers"] != 1)
        sizing = size_for(**options)
        classic = sizing.counts.cores == (sizing.counts.workers - 1) / 2

        less = sizing.counts.cores - (0.001 if classic else 1)
        assume(less > 0)  # The least that any cores have may be two workers.
        plan = plan_on(sizing, cores=less)

        assert plan.settings["workers"] == sizing.counts.workers - 1


def test_four_workers() -> None:
    sizing = size_for(workers=4, worker_memory="180MiB", workload="io", interface="wsgi")

    assert sizing.counts.replicas == 1
    assert sizing.counts.cores == 3.0
    # 4 * 180 + 32 = 752, / 0.9 = 835.6, in steps of 16.
    assert sizing.memory_limit_bytes == 848 * MIB
    assert (sizing.counts.shape.worker_class, sizing.counts.workers, sizing.counts.threads) == (
        "gunicorn_autoconf.workers.ThreadWorker",
        4,
        100,
    )
    assert sizing.variables == {
        "GUNICORN_WORKLOAD": "io",
        "GUNICORN_INTERFACE": "wsgi",
        "GUNICORN_WORKER_MEMORY": "180Mi",
    }
    assert sizing.notes == (connections(400),)


def test_a_load() -> None:
    sizing = size_for(rate=300, latency="80ms", compute="20ms", worker_memory="180MiB")

    assert [(step.name, step.value, with_numbers(step)) for step in sizing.steps] == [
        ("in_flight", 24.0, "300 * 0.08 s"),
        ("places", 35, "ceil(24 / 0.7)"),
        ("needed_cores", pytest.approx(8.5714, abs=1e-4), "300 * 0.02 s / 0.7"),
        ("workload", "io", "0.02 s / 0.08 s"),
        ("replicas", 5, "ceil(8.571 / 2)"),
        # 4.8 there on average, and 1.5 times their square root of 2.19 to spare.
        ("slots", 9, "ceil(24 / 5 + 1.5 * sqrt(24 / 5))"),
        ("workers", 3, "ceil(2) + 1"),
        ("threads", 100, "max(ceil(9 / 3), 100)"),
        # 3 * 180 + 32 = 572, / 0.9 = 635.6, in steps of 16.
        ("memory_limit_bytes", 640 * MIB, "(3 * 180 MiB + 32 MiB) / (1 - 0.1)"),
    ]
    assert (
        sizing.counts.replicas,
        sizing.counts.cores,
        sizing.counts.workers,
        sizing.counts.threads,
    ) == (5, 2.0, 3, 100)


def test_workers_of_which_nothing_else_is_known() -> None:
    """What is not declared is not made up: a declared mixed would have threads."""
    sizing = size_for(workers=4)

    assert (sizing.counts.shape.worker_class, sizing.counts.workers, sizing.counts.threads) == (
        "sync",
        4,
        1,
    )
    assert (sizing.counts.workload, sizing.counts.cores) == (None, 1.5)
    assert sizing.variables == {}
    assert "  workers       4 of 256 MiB (auto, WSGI)\n" in click.unstyle(render_sizing(sizing))
    assert sizing_json(sizing)["workload"] == "auto"
    assert sizing.steps[0].formula == "max((workers - 1) / 2, least)"


def test_threads_of_which_nothing_else_is_known() -> None:
    """Who asks for them says that the code bears them."""
    sizing = size_for(workers=4, threads=6, interface="wsgi", worker_memory="1Gi")

    assert (sizing.counts.shape.worker_class, sizing.counts.workers, sizing.counts.threads) == (
        "gunicorn_autoconf.workers.ThreadWorker",
        4,
        6,
    )
    assert sizing.counts.cores == 3.0
    assert sizing.variables["GUNICORN_THREADS"] == "6"
    assert sizing.notes == ("sized as mixed; set --workload if you know what requests do",)


def test_more_requests_than_threads_for_synchronous_code() -> None:
    load: dict[str, str | int] = {
        "rate": 1000,
        "latency": "10s",
        "compute": "1ms",
        "worker_memory": "1Gi",
    }
    sizing = size_for(**load, workload="io", interface="asgi")

    assert (sizing.counts.replicas, sizing.counts.workers, sizing.counts.threads) == (1, 3, 100)
    assert sizing.notes == (
        (
            "14,286 requests are there at once; of those that run synchronous code all but 300 "
            "wait for a thread"
        ),
        connections(300),
    )
    assert size_for(**load, workload="async", interface="asgi").notes == ()
    few = size_for(**load | {"rate": 1}, workload="io", interface="asgi")
    assert few.notes == (connections(100),)


@pytest.mark.parametrize(("workload", "threads"), [("mixed", 8), ("io", 100)])
def test_one_worker_with_threads(workload: str, threads: int) -> None:
    """The plan has two workers at least; threads do not make up for the one that is not wanted."""
    sizing = size_for(workers=1, workload=workload, interface="wsgi")

    assert (sizing.counts.shape.worker_class, sizing.counts.workers, sizing.counts.threads) == (
        "gunicorn_autoconf.workers.ThreadWorker",
        1,
        threads,
    )
    assert sizing.counts.cores == 1.0
    assert sizing.variables == {
        "GUNICORN_WORKLOAD": workload,
        "GUNICORN_INTERFACE": "wsgi",
        "GUNICORN_MAX_WORKERS": "1",
    }


def test_thread_pools_are_as_the_plan_has_them() -> None:
    sizing = size_for(workers=5, workload="io", interface="asgi")

    assert (sizing.counts.workers, sizing.counts.threads, sizing.counts.cores) == (5, 100, 2.0)
    assert "GUNICORN_THREADS" not in sizing.variables
    assert size_for(workers=5, threads=8, workload="io", interface="asgi").counts.threads == 8


@pytest.mark.parametrize(
    ("workload", "interface", "workers", "cores"),
    [
        ("cpu", "wsgi", 1, 1.0),
        ("cpu", "asgi", 4, 4.0),
        ("mixed", "wsgi", 1, 1.0),
        ("mixed", "wsgi", 2, 1.0),
        ("mixed", "asgi", 1, 0.25),
        ("mixed", "asgi", 2, 0.5),
        ("mixed", "asgi", 5, 2.0),
        ("io", "wsgi", 3, 2.0),
        ("io", "asgi", 4, 1.5),
        ("async", "asgi", 3, 3.0),
    ],
)
def test_cores(workload: str, interface: str, workers: int, cores: float) -> None:
    sizing = size_for(workers=workers, workload=workload, interface=interface)

    assert sizing.counts.cores == cores


@pytest.mark.parametrize(
    ("compute", "workload"),
    [("100ms", "cpu"), ("90ms", "cpu"), ("89ms", "mixed"), ("50ms", "mixed"), ("49ms", "io")],
)
def test_the_share_of_computing_suggests_the_workload(compute: str, workload: str) -> None:
    assert size_for(rate=10, latency="100ms", compute=compute).counts.workload == workload


@pytest.mark.parametrize(
    ("options", "replicas", "cores", "workers", "threads", "declared"),
    [
        # 2 in flight, 3 places, 0.29 cores: 0.286 rounded up.
        ({"rate": 20, "latency": "100ms", "compute": "10ms"}, 1, 0.286, 2, 100, {}),
        # 0.1 cores would do.
        ({"rate": 1, "latency": "100ms", "compute": "70ms"}, 1, 0.25, 2, 8, {}),
        # 210 in flight, 300 places: 150 for each of the two workers of 0.3 cores.
        (
            {"rate": 210, "latency": "1s", "compute": "1ms"},
            1,
            0.3,
            2,
            150,
            {"GUNICORN_THREADS": "150"},
        ),
        # 300 in flight, 429 places: more than two workers have threads for, 143 for each of three.
        (
            {"rate": 150, "latency": "2s", "compute": "1ms"},
            1,
            0.25,
            3,
            143,
            {"GUNICORN_MIN_WORKERS": "3", "GUNICORN_THREADS": "143"},
        ),
        # 24 in flight, one sync worker for each; 8.6 cores, so 5 replicas with 4.8 in flight: 7
        # would be busy for 70 % of the time, 9 have 1.5 times the square root of 4.8 to spare.
        (
            {"rate": 300, "latency": "80ms", "compute": "20ms", "workload": "cpu"},
            5,
            2.0,
            9,
            1,
            {"GUNICORN_MIN_WORKERS": "9"},
        ),
        (
            {"rate": 300, "latency": "80ms", "compute": "20ms", "interface": "asgi"},
            5,
            2.0,
            5,
            100,
            {},
        ),
        (
            {"rate": 300, "latency": "80ms", "compute": "20ms", "cpus_per_replica": "500m"},
            18,
            0.5,
            2,
            100,
            {},
        ),
        # 20,000 in flight, 28,572 places: 12 workers of 200 threads have 2,400, so 12 of them; the
        # 1.43 cores are shared out, but for the least.
        (
            {"rate": 1000, "latency": "20s", "compute": "1ms"},
            12,
            0.25,
            12,
            199,
            {"GUNICORN_MIN_WORKERS": "12", "GUNICORN_THREADS": "199"},
        ),
        # 60,000 in flight, 85,715 places in 36 replicas of 12 * 200; 14.3 cores, 0.4 for each.
        (
            {"rate": 10000, "latency": "6s", "compute": "1ms"},
            36,
            0.397,
            12,
            199,
            {"GUNICORN_MIN_WORKERS": "12", "GUNICORN_THREADS": "199"},
        ),
        # 1,000 in flight, 1,429 places: one replica of 8 cores, whose 9 workers have 159 each.
        (
            {
                "rate": 200,
                "latency": "5s",
                "compute": "20ms",
                "workload": "mixed",
                "cpus_per_replica": "8",
            },
            1,
            8.0,
            9,
            159,
            {"GUNICORN_THREADS": "159"},
        ),
        # The rule for 20 cores has 20 workers by itself: 1,429 places in 72 of them, 5.7 cores.
        (
            {
                "rate": 200,
                "latency": "5s",
                "compute": "20ms",
                "workload": "cpu",
                "cpus_per_replica": "20",
            },
            72,
            20.0,
            20,
            1,
            {},
        ),
        # 100 in flight, 143 places: 12 sync workers in a container would take 12 containers, but
        # only 7.81 in flight leave them 1.5 times their square root to spare: 13 containers.
        (
            {"rate": 100, "latency": "1s", "compute": "10ms", "workload": "cpu"},
            13,
            0.25,
            12,
            1,
            {"GUNICORN_MIN_WORKERS": "12"},
        ),
        # Four times as many: 52, as 400 / 7.81.
        (
            {"rate": 400, "latency": "1s", "compute": "10ms", "workload": "cpu"},
            52,
            0.25,
            12,
            1,
            {"GUNICORN_MIN_WORKERS": "12"},
        ),
        # An event loop has places enough.
        (
            {"rate": 1000, "latency": "10s", "compute": "1ms", "interface": "asgi"},
            1,
            1.429,
            3,
            100,
            {},
        ),
        # 100 * 0.07 / 0.7 is 10 cores and 10 places; to a float it is a little more.
        ({"rate": 100, "latency": "70ms", "compute": "70ms"}, 5, 2.0, 2, 1, {}),
    ],
)
def test_loads(
    options: dict[str, str | int],
    replicas: int,
    cores: float,
    workers: int,
    threads: int,
    declared: dict[str, str],
) -> None:
    sizing = size_for(**options)

    assert (sizing.counts.replicas, sizing.counts.cores) == (replicas, cores)
    assert (sizing.counts.workers, sizing.counts.threads) == (workers, threads)
    assert {
        name: value
        for name, value in sizing.variables.items()
        if name in {"GUNICORN_MIN_WORKERS", "GUNICORN_THREADS"}
    } == declared


@pytest.mark.parametrize(
    ("options", "limit_mib"),
    [
        ({}, 608),  # (2 * 256 + 32) / 0.9 = 604.4
        ({"others": "0"}, 576),  # 512 / 0.9 = 568.9
        ({"memory_reserve": "0"}, 544),
        ({"memory_reserve": "64MiB"}, 608),
        ({"memory_reserve": "50%"}, 1088),
        ({"worker_memory": "257MiB"}, 608),  # 546 / 0.9 = 606.7
        ({"worker_memory": "258MiB"}, 624),  # 548 / 0.9 = 608.9
    ],
)
def test_memory_limit(options: dict[str, str], limit_mib: int) -> None:
    assert size_for(workers=2, **options).memory_limit_bytes == limit_mib * MIB


@pytest.mark.parametrize(
    ("reserve", "text"), [("7%", "7%"), ("12.5%", "12.5%"), ("0", "0"), ("64MiB", "64Mi")]
)
def test_reserve_is_declared_as_it_was_given(reserve: str, text: str) -> None:
    variables = size_for(workers=2, memory_reserve=reserve).variables

    assert variables["GUNICORN_MEMORY_RESERVE"] == text


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        (
            {"workers": 2},
            [
                (
                    "assumes 256 MiB per worker until one is measured; "
                    "set --worker-memory if you know it"
                ),
                ("sized as mixed, without threads; set --workload if you know what requests do"),
                "assumes a WSGI application; set --interface asgi for ASGI",
            ],
        ),
        (
            {"workers": 2, "interface": "asgi", "worker_memory": "1Gi"},
            ["sized as mixed; set --workload if you know what requests do"],
        ),
        (
            {"workers": 2, "workload": "async", "interface": "wsgi", "worker_memory": "1Gi"},
            ["workload async needs an ASGI application; sized as io", connections(200)],
        ),
        (
            {
                "rate": 10,
                "latency": "80ms",
                "compute": "20ms",
                "workload": "cpu",
                "interface": "wsgi",
                "worker_memory": "1Gi",
            },
            ["the share of computing suggests workload io"],
        ),
        (
            {
                "rate": 1000,
                "latency": "10s",
                "compute": "1ms",
                "interface": "wsgi",
                "worker_memory": "1Gi",
            },
            [
                (
                    "most replicas are there for requests that wait, each of which holds a thread "
                    "or a worker; on the event loop of an async application it holds neither"
                ),
                connections(14328),
            ],
        ),
    ],
)
def test_notes(options: dict[str, str | int], notes: list[str]) -> None:
    assert list(size_for(**options).notes) == notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"workers": 10**8},
            "--workers='100000000': use at most 1000000, as no machine has more cores",
        ),
        (
            {"workers": 10**6, "worker_memory": "100T"},
            (
                "1000000 workers of 90.95 TiB take more memory than any machine has: "
                "use fewer, or smaller ones"
            ),
        ),
        (
            {"rate": 10**9, "latency": "1s", "compute": "1s"},
            "this load takes 1.42857e+09 cores, more than any cluster has",
        ),
        (
            {"rate": 10**6, "latency": "1000s", "compute": "1ms"},
            "this load takes 128066268 replicas, more than any cluster has",
        ),
    ],
)
def test_what_nobody_has(options: dict[str, str | int], message: str) -> None:
    with pytest.raises(AutoconfError) as raised:
        size_for(workload="cpu", **options)

    assert str(raised.value) == message


@pytest.mark.parametrize(
    "options",
    [{"workload": "cpu"}, {"interface": "asgi"}, {"workload": "async", "interface": "asgi"}],
)
def test_threads_where_there_are_none(options: dict[str, str]) -> None:
    with pytest.raises(DeclarationError) as raised:
        size_for(workers=2, threads=4, **options)

    assert raised.value.remedy == (
        "use 1, or --workload io: the plan has no threads for these requests"
    )


@given(options=WORKERS | LOADS.filter(is_possible))
def test_text_fits_80_columns(options: dict[str, str | int]) -> None:
    lines = click.unstyle(render_sizing(size_for(**options))).splitlines()

    assert max(map(len, lines)) <= 80


def test_numbers_in_a_formula() -> None:
    step = Step(
        name="memory_limit_bytes",
        value=math.inf,
        formula="workers * worker_memory",
        inputs={"workers": 2, "worker_memory_bytes": 256 * MIB},
    )
    assert with_numbers(step) == "2 * 256 MiB"
