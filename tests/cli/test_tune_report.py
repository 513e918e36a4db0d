"""What `tune` prints: text in 80 columns, JSON that keeps its schema, a page on its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from random import Random

import click
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from schemas import closed

from gunicorn_autoconf.cli.main import main
from gunicorn_autoconf.cli.tune import progress
from gunicorn_autoconf.cli.tune.asked import Requests, parse_command
from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.conclude import conclude
from gunicorn_autoconf.cli.tune.document import SCHEMA, to_json
from gunicorn_autoconf.cli.tune.latencies import Latencies
from gunicorn_autoconf.cli.tune.objective import default_slo, fraction_within
from gunicorn_autoconf.cli.tune.outcome import Failure, Measured, Outcome, Step, Trouble
from gunicorn_autoconf.cli.tune.page import render_page
from gunicorn_autoconf.cli.tune.progress import block_line, print_line, showing
from gunicorn_autoconf.cli.tune.race import Certainty, Race, Standing
from gunicorn_autoconf.cli.tune.ratio import Interval
from gunicorn_autoconf.cli.tune.report import Report
from gunicorn_autoconf.cli.tune.request import Request
from gunicorn_autoconf.cli.tune.run import Run
from gunicorn_autoconf.cli.tune.session import Asked, Session, paste, prepare
from gunicorn_autoconf.cli.tune.text import render_report
from gunicorn_autoconf.cli.tune.verdict import Answer, judge

PATH = Path(__file__).parents[2] / "docs" / "reference" / "tune.schema.json"
PUBLISHED = json.loads(PATH.read_text(encoding="utf-8"))
MIB = 1024 * 1024

SYNC = Candidate(worker_class="sync", workers=5)
THREADS = Candidate(worker_class="gthread", workers=3, threads=100)
BROKEN = Candidate(worker_class="gthread", workers=5, threads=64)


def around(seconds: float, spread: float = 1.2) -> Latencies:
    latencies = Latencies()
    for number in range(100):
        latencies.add(seconds * (1 + (spread - 1) * number / 100))
    return latencies


def outcome(capacity: float, seconds: float, **more: object) -> Outcome:
    steps = tuple(
        Step(fraction=f, rate=f * capacity, latencies=around(seconds, 1.2 + f)) for f in (0.6, 0.85)
    )
    made = Outcome(
        capacity=capacity,
        clients=128,
        steps=steps,
        cpu_cores=0.9,
        load_cores=0.2,
        memory_bytes=90 * MIB,
        boot_seconds=0.8,
        reference_seconds=0.01,
        statuses={200: 900, 404: 100},
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def session() -> Session:
    asked = Asked(
        application="gunicorn_autoconf.demo:app",
        requests=Requests(kinds=[Request(weight=3), Request(target="/<b>")], first=Request()),
        declared={"cpus": "2", "memory": "1GiB", "interface": "wsgi"},
    )
    return prepare(asked, {"PATH": os.environ["PATH"]})


@pytest.fixture
def run() -> Run:
    """A finished run, of which one candidate failed."""
    run = Run(budget_seconds=600.0)
    run.light, run.slo_seconds = around(0.1), 0.4

    def score(candidate: Candidate, capacity: float) -> None:
        known = run.measured.setdefault(candidate, Measured(candidate=candidate))
        known.outcomes.append(outcome(capacity, 0.1))
        known.scores.append(0.85 * capacity)

    run.race = Race([SYNC, THREADS], Random(1))
    number = 0
    while (candidate := run.race.next(100.0)) is not None:
        number += 1
        capacity = (1_000.0 if candidate is THREADS else 50.0) + number
        score(candidate, capacity)
        run.race.record(candidate, 0.85 * capacity, 1.0, 90 * MIB)
    text = "RuntimeError: no such database"
    failure = Failure(trouble=Trouble.NO_START, text=text)
    run.measured[BROKEN] = Measured(candidate=BROKEN, failure=failure)
    run.ended = run.began + 60.0
    return run


@pytest.fixture
def report(session: Session, run: Run) -> Report:
    return conclude(session, run)


def test_text(report: Report) -> None:
    text = click.unstyle(render_report(report))

    assert max(map(len, text.splitlines())) <= 80
    assert "  - GET / (75%)\n  - GET /<b> (25%)\n" in text
    assert "gthread 3 x 100   85" in text
    assert "gthread 5 x 64: did not start: RuntimeError: no such database" in text
    assert "Best: gthread 3 x 100, 18.91 (15.07 to 23.73) times" in text
    assert "up to 300 requests run at once" in text
    assert "10% of the answers have a status of 400 to 499" in text
    assert "█" in text
    assert render_report(report, has_blocks=False).isascii()


def test_json_keeps_its_schema(report: Report) -> None:
    document = json.loads(json.dumps(to_json(report)))

    Draft202012Validator.check_schema(PUBLISHED)
    Draft202012Validator(closed(PUBLISHED)).validate(document)
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA == 1
    assert document["verdict"]["answer"] == "winner"
    assert [row["workers"] for row in document["candidates"]] == [3, 5, 5]


def test_json_of_a_run_that_measured_nothing(session: Session) -> None:
    report = conclude(session, Run(budget_seconds=60.0, is_interrupted=True))

    document = json.loads(json.dumps(to_json(report)))

    Draft202012Validator(closed(PUBLISHED)).validate(document)
    assert document["verdict"]["best"] is None
    assert "no candidate could be measured" in render_report(report)
    assert "<svg" not in render_page(report)


class Page(HTMLParser):
    """The tags of a page, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole(report: Report) -> None:
    text = render_page(report)
    page = Page(text.replace("/>", ">"))

    assert (page.open, page.fetched) == ([], [])
    assert {"svg", "polyline", "table"} <= page.tags
    assert "script" not in page.tags
    assert "b" in page.tags
    assert "GET /&lt;b&gt;" in text


@pytest.mark.parametrize("form", ["args", "env", "python", "dockerfile", "kubernetes"])
def test_paste(form: str, session: Session) -> None:
    text = paste(form, session, THREADS).text

    assert "gthread" in text
    assert "100" in text


NOISY = [outcome(100.0, 0.1, disturbed_fraction=each) for each in (0.1, 0.3, 0.5)]
# A database on the same machine takes its part in each block.
WITH_DATABASE = [outcome(100.0, 0.1, disturbed_fraction=each) for each in (0.49, 0.5, 0.51)]


@pytest.mark.parametrize(
    ("standing", "outcomes", "answer", "words"),
    [
        (Standing(Certainty.NONE), [], Answer.CANNOT_TELL, "no candidate could be measured"),
        (Standing(Certainty.ONLY, SYNC), NOISY, Answer.WINNER, "the only one that works"),
        (
            Standing(Certainty.CLEAR, SYNC, THREADS, Interval(1.1, 1.2, 1.3)),
            NOISY,
            Answer.CANNOT_TELL,
            "the machine was too noisy",
        ),
        (
            Standing(Certainty.CLEAR, SYNC, THREADS, Interval(1.1, 1.2, 1.3)),
            WITH_DATABASE,
            Answer.WINNER,
            "1.20 (1.10 to 1.30) times the rate of gthread 3 x 100",
        ),
        (
            Standing(Certainty.CLEAR, SYNC, THREADS, Interval(4.0, 5.0, 6.0)),
            NOISY,
            Answer.WINNER,
            "5.00 (4.00 to 6.00) times the rate of gthread 3 x 100",
        ),
        (
            Standing(Certainty.CLEAR, SYNC, THREADS, Interval(4.0, 5.0, 6.0)),
            [outcome(100.0, 0.1, is_load_bound=True)],
            Answer.CANNOT_TELL,
            "the load was at its limit",
        ),
        (
            Standing(Certainty.EQUAL, SYNC, THREADS, Interval(0.99, 1.0, 1.01)),
            NOISY,
            Answer.WITHIN,
            "takes no less memory",
        ),
        (
            Standing(Certainty.UNDECIDED, SYNC, THREADS, Interval(0.8, 1.0, 1.2)),
            [outcome(100.0, 0.1)],
            Answer.CANNOT_TELL,
            "More --time may tell",
        ),
    ],
)
def test_verdict(standing: Standing, outcomes: list[Outcome], answer: Answer, words: str) -> None:
    verdict = judge(standing, {SYNC: outcomes, THREADS: outcomes})

    assert verdict.answer is answer
    assert words in verdict.text


def test_drift_makes_a_machine_noisy() -> None:
    standing = Standing(Certainty.CLEAR, SYNC, THREADS, Interval(1.05, 1.1, 1.15))
    outcomes = {SYNC: [outcome(100.0, 0.1)], THREADS: [outcome(90.0, 0.1)]}

    assert judge(standing, outcomes).answer is Answer.WINNER
    assert judge(standing, outcomes, drift_fraction=0.2).answer is Answer.CANNOT_TELL


@pytest.mark.parametrize(
    ("p99_low", "p99_high", "fraction"),
    [
        (0.05, 0.2, 0.85),
        (0.5, 0.9, 0.36),  # between nothing and 0.6, on a straight line of logarithms
        (0.1, 1.6, 0.73),
    ],
)
def test_fraction_within_the_limit(p99_low: float, p99_high: float, fraction: float) -> None:
    steps = [
        Step(fraction=part, rate=1.0, latencies=around(p99, 1.0))
        for part, p99 in ((0.6, p99_low), (0.85, p99_high))
    ]

    found = fraction_within(steps, slo_seconds=0.4 if p99_high < 1 else 0.42, light_seconds=0.28)

    assert found == pytest.approx(fraction, abs=0.02)


def test_answers_that_are_bad_have_no_percentile() -> None:
    bad = Step(fraction=0.6, rate=1.0, latencies=around(0.01), bad_fraction=0.02)

    assert fraction_within([bad], slo_seconds=1.0, light_seconds=0.01) == 0.0


def test_default_limit() -> None:
    assert default_slo(around(0.0005)) == 0.020
    assert default_slo(around(0.1)) == pytest.approx(0.44, rel=0.02)
    few_slow = Latencies(around(0.01).counts)
    for _ in range(5):
        few_slow.add(3.0)
    assert default_slo(few_slow) == pytest.approx(6.0, rel=0.02)


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(SYNC, None, None)
    print_line(SYNC, outcome(100.0, 0.1), 85.0)

    assert capsys.readouterr().err == "sync 5: 85/s within the limit, 100/s at most\n"
    failure = Failure(trouble=Trouble.OUT_OF_MEMORY, text="2 workers got SIGKILL")
    assert block_line(SYNC, failure, None) == "sync 5: out of memory: 2 workers got SIGKILL"


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with showing(600.0) as display:
        display(THREADS, None, None)
        display(THREADS, outcome(1000.0, 0.1), 850.0)

    shown = terminal.getvalue()
    assert "gthread 3 x 100: 850/s within the limit, 1,000/s at most\n" in shown
    assert "at most 9:5" in shown


def test_lines_where_rich_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)

    with showing(600.0) as display:
        assert display is print_line


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["tune", *words])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the application, such as mysite.wsgi:application"),
        (["a:b", "--time", "5"], "--time='5': use at least 20 s, such as 60, 90s or 10m"),
        (["a:b", "--slo", "200"], "--slo='200': use a duration such as 200ms or 0.5s"),
        (["a:b", "--slo", ""], "--slo='': use a duration such as 200ms or 0.5s"),
        (["a:b", "--time", ""], "--time='': use at least 20 s, such as 60, 90s or 10m"),
        (["a:b", "--url", "orders"], "--url='orders': use [WEIGHT] [METHOD] /PATH"),
        (["a:b", "--header", "x"], "--header='x': use 'Name: value'"),
        (
            ["--current", "uvicorn a:b"],
            "--current='uvicorn a:b': use the command that runs Gunicorn",
        ),
        (["a:b", "--current", "gunicorn c:d"], "--current runs c:d, not a:b: name it once"),
        (["--current", "gunicorn --nope c:d"], "--current: "),
        (["a:b", "--json", "--as", "env"], "--json and --as exclude each other"),
    ],
)
def test_what_is_refused(words: list[str], message: str) -> None:
    status, output = invoke(*words)

    assert status == 2
    assert f"Error: {message}" in output
    assert output.count("\n") == 1


def test_what_runs_now_is_read_by_gunicorn_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gunicorn.conf.py").write_text("workers = 7\nwsgi_app = 'shop:app'\nthreads = 4\n")
    asked = Asked(
        application=None,
        requests=Requests(kinds=[Request()], first=Request()),
        current=parse_command("DEBUG=1 gunicorn --preload"),
        declared={"cpus": "2", "memory": "4GiB"},
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}

    session = prepare(asked, environ)

    assert [each.label for each in session.given] == ["gthread 7 x 4", "sync 5"]
    assert session.has_threads
    assert session.arguments == ["--preload"]
    assert session.environ["DEBUG"] == "1"


def test_base_install_needs_no_client(tmp_path: Path) -> None:
    """The help comes without aiohttp and rich, and says in a line what is missing."""
    code = (
        "import sys; sys.modules.update(aiohttp=None, rich=None)\n"
        "from gunicorn_autoconf.cli.main import main\n"
        "main(sys.argv[1:])"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "tune", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "--threads-safe" in run("--help").stdout
    done = run("a:b")
    assert done.stderr == "Error: tune needs aiohttp: pip install 'gunicorn-autoconf[tune]'\n"
    assert done.returncode == 2
