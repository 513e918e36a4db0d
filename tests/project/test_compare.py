"""
``python -m benchmarks.compare``: its figures and its report, and one small run.

The figures of a run belong to the machine it ran on; what is tested here is how they are made.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import stretched

pytestmark = pytest.mark.one_python

TOP = Path(__file__).parents[2]
# At the end: the package under test may be an installed one, the benchmarks are always these.
sys.path.append(str(TOP))

from benchmarks.compare import charts, figures, load, report, rounds  # noqa: E402
from benchmarks.compare.figures import (  # noqa: E402
    CpuTimes,
    Sample,
    Spread,
    disturbance,
    finalists,
    parse_cpu_times,
    ranked,
    ratio,
    spread,
    tables,
)
from benchmarks.compare.ways import (  # noqa: E402
    WAYS,
    Supply,
    Way,
    distinct,
    heroku,
    s2i,
    sweep,
    tiangolo,
)
from benchmarks.compare.workloads import WORKLOADS  # noqa: E402

PAGE = TOP / "docs" / "explanation" / "benchmark-method.md"
TWO_CORES = Supply(host_cores=64, cores=2, memory_mib=512)
PROC_STAT = "cpu  100 10 50 800 20 5 3 12 40 0\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n"


def sample(way: str, rate: float, number: int = 1, **fields: object) -> Sample:
    first_word = way.partition(" ")[0]
    role = first_word if first_word in {"ours", "sweep"} else "peer"
    values: dict[str, object] = {
        "workload": "nothing-wsgi",
        "pattern": "at-once",
        "limit_mib": None,
        "way": way,
        "role": role,
        "round": number,
        "rate": rate,
        **fields,
    }
    return Sample(**values)  # type: ignore[arg-type]


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(figures) == (0, 2)


def test_cpu_times_leave_out_guests_and_interrupts() -> None:
    assert parse_cpu_times(PROC_STAT) == CpuTimes(total=1000, processes=160, stolen=12)


def test_what_others_used_is_what_neither_server_nor_load_did() -> None:
    before = CpuTimes(total=1000, processes=100, stolen=10)
    after = CpuTimes(total=1400, processes=400, stolen=30)

    assert disturbance(before, after, own_ticks=200.0) == (0.05, 0.25)


def test_clocks_that_disagree_make_no_negative_share() -> None:
    before = CpuTimes(total=1000, processes=100, stolen=10)

    assert disturbance(before, before, own_ticks=3.0) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("stolen", "others", "expected"),
    [(0.0, 0.05, False), (0.03, 0.03, True), (0.06, 0.0, True), (0.0, 0.06, True)],
)
def test_disturbed(stolen: float, others: float, expected: bool) -> None:
    measured = sample("uvicorn", 1.0, stolen_fraction=stolen, others_fraction=others)

    assert measured.is_disturbed is expected


def test_spread() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0, 50.0]) == Spread(low=2.0, median=3.0, high=4.0)
    assert spread([7.0]) == Spread(low=7.0, median=7.0, high=7.0)


def test_ratios_are_paired_by_round() -> None:
    ours = [sample("ours", 90.0, 1), sample("ours", 30.0, 2), sample("ours", 110.0, 3)]
    # The machine had a bad second round, for both.
    peer = [sample("uvicorn", 100.0, 3), sample("uvicorn", 100.0, 1), sample("uvicorn", 30.0, 2)]

    assert ratio(ours, peer) == Spread(low=0.95, median=1.0, high=1.05)


def test_no_pair_no_ratio() -> None:
    ours = [sample("ours", 90.0, 1)]

    assert ratio(ours, None) is None
    assert ratio(ours, [sample("uvicorn", 100.0, 2)]) is None
    assert ratio(ours, [sample("uvicorn", 0.0, 1, started=False)]) is None


def test_the_highest_median_is_best() -> None:
    group = [
        *(sample("heroku", rate, i) for i, rate in enumerate([10.0, 10.0, 99.0])),
        *(sample("uvicorn", rate, i) for i, rate in enumerate([20.0, 20.0, 1.0])),
        sample("ours", 50.0),
    ]

    assert ranked(group, "peer") == ["uvicorn", "heroku"]


def test_under_a_limit_who_survives_is_better() -> None:
    fast = sample("gunicorn-2n+1", 100.0, limit_mib=256, oom_kills=1)
    broken = sample("granian", 90.0, limit_mib=256, errors=1)
    slow = sample("heroku", 10.0, limit_mib=256)

    assert ranked([fast, broken, slow], "peer") == ["heroku", "gunicorn-2n+1", "granian"]


def test_without_a_limit_a_broken_connection_does_not_decide() -> None:
    group = [sample("granian", 90.0, errors=1), sample("heroku", 10.0)]

    assert ranked(group, "peer") == ["granian", "heroku"]


def test_finalists_are_the_best_of_each_pattern() -> None:
    swept = [
        sample("sweep sync 1", 10.0, 0),
        sample("sweep sync 2", 20.0, 0),
        sample("sweep sync 5", 30.0, 0),
        sample("sweep sync 1", 40.0, 0, pattern="new"),
        sample("sweep sync 2", 5.0, 0, pattern="new"),
        sample("sweep sync 5", 4.0, 0, pattern="new"),
    ]

    assert finalists(swept, 1) == {"sweep sync 5", "sweep sync 1"}


def test_rounds_are_interleaved_and_finalists_join(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[int, str]] = []
    rates = {"sweep sync 1": 1.0, "sweep sync 2": 2.0, "sweep sync 3": 3.0}

    def measure(_bench: object, _workload: object, way: Way, _limit: object, number: int) -> object:
        measured.append((number, way.name))
        yield sample(way.name, rates.get(way.name, 0.5), number)

    monkeypatch.setattr(rounds, "measure", measure)
    bench = rounds.Bench("wrk", TWO_CORES, Path(), ["at-once"], seconds=1, rounds=2)
    swept = sweep("wsgi", TWO_CORES, native_asgi=False)[:5]
    ways = [WAYS["autoconf-declared"], WAYS["heroku"]]

    samples = list(rounds.compare(bench, WORKLOADS["nothing-wsgi"], ways, swept, None))

    there = [f"sweep sync {workers}" for workers in (1, 2, 3, 5, 8)]
    best = ["sweep sync 2", "sweep sync 3"]
    assert [name for number, name in measured if number == 0] == there
    first = [name for number, name in measured if number == 1]
    second = [name for number, name in measured if number == 2]
    assert sorted(first) == sorted(second) == ["autoconf-declared", "heroku", *best]
    assert first != second
    assert len(samples) == 13


# The look of the sweep, two rounds, one of them disturbed; a finalist that lost, one that won.
RUN = [
    sample("sweep sync 8", 900.0, 0),
    sample("ours", 95.0, 1, p50_ms=2.5, p99_ms=9.0, pss_bytes=50 * 2**20),
    sample("uvicorn", 80.0, 1, errors=2, pss_bytes=60 * 2**20),
    sample("sweep sync 2", 100.0, 1),
    sample("sweep sync 5", 60.0, 1),
    sample("ours", 45.0, 2, p50_ms=3.5, p99_ms=9.0, pss_bytes=50 * 2**20, stolen_fraction=0.1),
    sample("uvicorn", 50.0, 2, errors=1, pss_bytes=60 * 2**20),
    sample("sweep sync 2", 50.0, 2),
    sample("sweep sync 5", 40.0, 2),
]


def test_table() -> None:
    (table,) = tables(RUN)
    ours, uvicorn, oracle, lost = table.rows

    assert table[:3] == ("nothing-wsgi", None, "at-once")
    assert ours.to_oracle == pytest.approx((0.9125, 0.925, 0.9375))
    assert (ours.rounds, ours.disturbed) == (2, 1)
    assert (ours.p50_ms, ours.p99_ms, ours.rate.median) == (3.0, 9.0, 70.0)
    assert (uvicorn.is_best_peer, uvicorn.errors) == (True, 3)
    assert (oracle.way, oracle.is_oracle, lost.is_oracle) == ("sweep sync 2", True, False)


MARKDOWN = """\
- cores: 2 of 2

Medians over the rounds; ratios are paired by round: median (quartiles). Disturbed: rounds in \
which others had more than 5% of the machine's CPU time.

## nothing-wsgi, connections: at-once

| way | requests/s | to the oracle | to the best peer | p50 | p99 | errors | Σ PSS | disturbed |
|---|---|---|---|---|---|---|---|---|
| **oracle**: sync 2 | 75 | 1.00 (1.00 to 1.00) | 1.12 (1.06 to 1.19) | 0.0 ms | 0.0 ms | 0 \
| 0 MiB | 0/2 |
| **ours** | 70 | 0.93 (0.91 to 0.94) | 1.04 (0.97 to 1.12) | 3.0 ms | 9.0 ms | 0 \
| 50 MiB | 1/2 |
| uvicorn (best peer) | 65 | 0.90 (0.85 to 0.95) | 1.00 (1.00 to 1.00) | 0.0 ms | 0.0 ms | 3 \
| 60 MiB | 0/2 |
"""


def test_markdown() -> None:
    assert report.render_markdown(RUN, {"cores": "2 of 2"}) == MARKDOWN


MARKDOWN_LIMITED = """\
## nothing-wsgi, limit 256 MiB, connections: at-once

| way | requests/s | to the oracle | to the best peer | p50 | p99 | errors | OOM kills | Σ PSS \
| disturbed |
|---|---|---|---|---|---|---|---|---|---|
| heroku (best peer) | 5 | - | 1.00 (1.00 to 1.00) | 0.0 ms | 0.0 ms | 3 | 7 | 0 MiB | 0/1 |
| s2i | did not start | - | - | - | - | - | 9 | 0 MiB | 0/1 |
"""


def test_markdown_under_a_limit() -> None:
    killed = sample("heroku", 5.0, limit_mib=256, oom_kills=7, errors=3)
    never = sample("s2i", 0.0, limit_mib=256, started=False, oom_kills=9)

    assert report.render_markdown([killed, never], {}).endswith(MARKDOWN_LIMITED)


def test_markdown_counts_the_rounds_without_a_server() -> None:
    once = [sample("s2i", 4.0, 1), sample("s2i", 0.0, 2, started=False)]

    assert "| s2i (best peer), 1 of 2 did not start | 2 |" in report.render_markdown(once, {})


def test_summary() -> None:
    run = [
        sample("autoconf-declared", 95.0, role="ours"),
        sample("autoconf-undeclared", 40.0, role="ours"),
        sample("uvicorn", 80.0),
        sample("granian", 50.0),
        sample("sweep sync 2", 100.0),
        sample("autoconf-declared", 30.0, role="ours", pattern="new"),
        sample("uvicorn", 40.0, pattern="new"),
        sample("sweep sync 2", 60.0, pattern="new"),
        sample("autoconf-undeclared", 0.0, role="ours", pattern="new", started=False),
    ]

    assert report.render_summary(tables(run)).splitlines()[2:] == [
        "| workload | way | at-once | new |",
        "|---|---|---|---|",
        "| nothing-wsgi | autoconf-declared | 0.95 / 1.19 uvicorn | 0.50 / 0.75 uvicorn |",
        "| nothing-wsgi | autoconf-undeclared | 0.40 / 0.50 uvicorn | did not start |",
    ]
    without = [one for one in run if one.role != "sweep" and one.pattern == "new"]
    head, _, *rows = report.render_summary(tables(without)).splitlines()
    assert "as a part of the best peer's:" in head
    assert rows == [
        "| workload | way | new |",
        "|---|---|---|",
        "| nothing-wsgi | autoconf-declared | 0.75 uvicorn |",
        "| nothing-wsgi | autoconf-undeclared | did not start |",
    ]


def test_summary_under_a_limit() -> None:
    run = [
        sample("autoconf-declared", 95.0, role="ours", limit_mib=256),
        sample("gunicorn-2n+1", 200.0, limit_mib=256, oom_kills=3),
        sample("uvicorn", 80.0, limit_mib=256),
        sample("s2i", 90.0, 1, limit_mib=256),
        sample("s2i", 0.0, 2, limit_mib=256, started=False),
        sample("autoconf-declared", 9.0, role="ours", limit_mib=512, errors=2, oom_kills=1),
        sample("autoconf-declared", 0.0, role="ours", limit_mib=64, started=False),
        sample("autoconf-declared", 8.0, 1, role="ours", limit_mib=128),
        sample("autoconf-declared", 0.0, 2, role="ours", limit_mib=128, started=False),
    ]

    assert report.render_summary(tables(run)).splitlines()[4:] == [
        "| nothing-wsgi | 256 MiB | at-once | 95 | yes | uvicorn: 80 | gunicorn-2n+1, s2i |",
        "| nothing-wsgi | 512 MiB | at-once | 9 | no: 1 kill, 2 errors | none | none |",
        "| nothing-wsgi | 64 MiB | at-once | - | no: did not start | none | none |",
        "| nothing-wsgi | 128 MiB | at-once | 4 | no: 1 of 2 did not start | none | none |",
    ]


def test_json_has_every_sample_and_the_tables() -> None:
    document = json.loads(report.render_json(RUN, {"cores": "2 of 2"}))

    assert document["machine"] == {"cores": "2 of 2"}
    assert [len(document["samples"]), document["samples"][0]["round"]] == [9, 0]
    assert document["tables"][0]["rows"][0]["to_oracle"] == {
        "low": pytest.approx(0.9125),
        "median": pytest.approx(0.925),
        "high": pytest.approx(0.9375),
    }


def test_charts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    limited = sample("heroku", 5.0, limit_mib=256)

    drawn = charts.draw(tables([*RUN, limited]), tmp_path)

    assert [path.name for path in drawn] == ["nothing-wsgi.png", "nothing-wsgi-256mib.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


PRINTED = (
    'Running 2s test\nCOMPARE {"requests": 1010, "duration_us": 2000000, "p50_us": 1500, '
    '"p99_us": 20000, "connect": 1, "read": 2, "write": 3, "status": 10, "timeout": 4}\n'
)


def test_an_answer_with_a_bad_status_is_an_error_and_no_request() -> None:
    assert load.parse(PRINTED, ramp_seconds=0.0) == load.Answer(
        rate=500.0, p50_ms=1.5, p99_ms=20.0, requests=1000, errors=20
    )


def test_the_ramp_counts() -> None:
    assert load.parse(PRINTED, ramp_seconds=0.5).rate == 400.0


@pytest.mark.parametrize(
    ("supply", "expected"),
    [
        # tiangolo, heroku, s2i.
        (Supply(host_cores=64, cores=2, memory_mib=512), (64, 2, 4)),
        (Supply(host_cores=1, cores=1, memory_mib=4096), (2, 3, 2)),
        (Supply(host_cores=32, cores=32, memory_mib=65536), (32, 65, 12)),
        (Supply(host_cores=4, cores=4, memory_mib=128), (4, 1, 2)),
    ],
)
def test_formulas_of_peers(supply: Supply, expected: tuple[int, int, int]) -> None:
    assert (tiangolo(supply), heroku(supply), s2i(supply)) == expected


def test_ways_that_start_the_same_server_are_measured_once() -> None:
    ways = [WAYS[name] for name in ("gunicorn-2n+1", "heroku", "s2i")]

    def names(memory_mib: int) -> list[str]:
        supply = TWO_CORES._replace(memory_mib=memory_mib)
        return [way.name for way in distinct(ways, WORKLOADS["nothing-wsgi"], supply)]

    # 5, 2 and 4 workers; 5, 5 and 4.
    assert names(512) == ["gunicorn-2n+1", "heroku", "s2i"]
    assert names(4096) == ["gunicorn-2n+1, heroku", "s2i"]


def words(way: str, workload: str) -> str:
    start = WAYS[way].start(WORKLOADS[workload], TWO_CORES, "127.0.0.1:8000")
    variables = [f"{name}={value}" for name, value in start.environ.items()]
    return " ".join([*variables, *start.command[2:]])


@pytest.mark.parametrize(
    ("way", "workload", "expected"),
    [
        (
            "autoconf-declared",
            "wait-threads",
            "GUNICORN_WORKLOAD=io gunicorn -c CONF -b 127.0.0.1:8000 plain:wsgi_app",
        ),
        (
            "autoconf-undeclared",
            "wait-async",
            "gunicorn -c CONF -b 127.0.0.1:8000 plain:asgi_app",
        ),
        ("gunicorn-2n+1", "fastapi", "gunicorn -b 127.0.0.1:8000 -k UVICORN -w 5 items:app"),
        (
            "gunicorn-default",
            "compute-wsgi",
            "gunicorn -b 127.0.0.1:8000 -k sync -w 1 plain:wsgi_app",
        ),
        (
            "granian",
            "nothing-wsgi",
            "granian --host 127.0.0.1 --port 8000 --interface wsgi --workers 2 plain:wsgi_app",
        ),
    ],
)
def test_commands(way: str, workload: str, expected: str) -> None:
    expected = expected.replace("UVICORN", "uvicorn_worker.UvicornWorker")
    expected = expected.replace("CONF", "python:gunicorn_autoconf.conf")

    assert words(way, workload) == expected


def test_sweep() -> None:
    wsgi = [way.name for way in sweep("wsgi", TWO_CORES, native_asgi=True)]
    asgi = [way.name for way in sweep("asgi", TWO_CORES, native_asgi=True)]

    assert wsgi[:7] == [
        *(f"sweep sync {workers}" for workers in (1, 2, 3, 5, 8)),
        "sweep gthread 1x8",
        "sweep gthread 1x32",
    ]
    assert wsgi[-1] == "sweep gthread 8x128"
    assert asgi == [f"sweep {name} {w}" for name in ("uvicorn", "asgi") for w in (1, 2, 3, 5, 8)]
    without = sweep("asgi", TWO_CORES, native_asgi=False)
    assert [way.name for way in without] == asgi[:5]


def test_the_page_names_every_workload_way_and_pattern() -> None:
    named = set(re.findall(r"`([^`\n]+)`", PAGE.read_text(encoding="utf-8")))

    assert {*WORKLOADS, *WAYS, *load.PATTERNS, "oracle"} - named == set()


def run_compare(
    *arguments: str, folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", *arguments],
        # `-m` takes the benchmarks of the working directory.
        cwd=TOP,
        env=os.environ | {"HOME": str(folder)} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=stretched(120),
        check=False,
    )


def test_without_wrk_it_says_so(tmp_path: Path) -> None:
    result = run_compare(folder=tmp_path, PATH=str(tmp_path))

    assert result.returncode == 1
    assert result.stderr == (
        "wrk makes the load and is not installed: apt-get install wrk, or github.com/wg/wrk\n"
    )


@pytest.fixture
def one_core() -> Iterator[None]:
    """Leave the other cores to the tests that run beside: wrk takes all there are."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat")
@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
@pytest.mark.usefixtures("one_core")
def test_small_run(tmp_path: Path) -> None:
    result = run_compare(
        # One that computes for a moment: at full speed wrk and a view that does nothing keep all
        # other processes of a small machine waiting for a CPU for seconds.
        *("--workloads", "mixed-asgi", "--ways", "autoconf-declared", "uvicorn"),
        *("--rounds", "1", "--seconds", "1", "--output", str(tmp_path / "out")),
        folder=tmp_path,
    )

    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert {(s["way"], s["pattern"]) for s in document["samples"]} == {
        (way, pattern)
        for way in ("autoconf-declared", "uvicorn")
        for pattern in ("at-once", "gradual", "new")
    }
    for measured in document["samples"]:
        assert measured["started"], measured
        assert measured["rate"] > 0, measured
        assert measured["errors"] == 0, measured
        assert 0 < measured["p50_ms"] <= measured["p99_ms"], measured
        # Two processes of Python at the least.
        assert measured["pss_bytes"] > 10 * 2**20, measured
    out = tmp_path / "out"
    summary, full = (out / "summary.md").read_text(), (out / "compare.md").read_text()
    assert result.stdout == f"{summary}\n{full}"
    assert result.stdout.count("\n## mixed-asgi, connections: ") == 3
