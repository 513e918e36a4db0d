"""
How good `gunicorn-autoconf tune` chooses: ``python -m benchmarks.tune`` on a quiet machine.

Runs `tune` on workloads of `benchmarks.compare`, then its choice beside the sweep's oracle, in
interleaved rounds under wrk. With ``--same RUNS`` it lets one candidate run against itself instead:
a winner there is an error. ``library`` is a Django project with PostgreSQL, which PGHOST and the
like name; ``python -m library.prepare`` in compare/apps fills it. ``kinto``, ``radicale`` and
``datasette`` come from PyPI, each in a virtual environment of its own below ``--folder``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmarks import real_apps
from benchmarks.applications import APPLICATIONS
from benchmarks.compare import load, machine
from benchmarks.compare.__main__ import prepare
from benchmarks.compare.figures import Sample, Table, tables
from benchmarks.compare.rounds import Bench, compare
from benchmarks.compare.servers import APPS, environment
from benchmarks.compare.ways import BOTH, Start, Supply, Way, sweep
from benchmarks.compare.workloads import UNLIMITED, WORKLOADS, Interface, Workload
from gunicorn_autoconf.cli.tune.asked import read_requests
from gunicorn_autoconf.cli.tune.candidate import CURRENT
from gunicorn_autoconf.cli.tune.conclude import conclude
from gunicorn_autoconf.cli.tune.progress import print_line
from gunicorn_autoconf.cli.tune.run import Run
from gunicorn_autoconf.cli.tune.session import Asked, run_session
from gunicorn_autoconf.cli.tune.session import prepare as prepare_tune

GOOD_FRACTION = 0.95
LIBRARY = Workload("library", "wsgi", "library.wsgi:application", "io", "/books/17")
ALL = {**WORKLOADS, LIBRARY.name: LIBRARY}
# Of `benchmarks.applications`: what each speaks, and the request that stands for the rest.
REAL: dict[str, tuple[Interface, str]] = {
    "kinto": ("wsgi", "/v1/"),
    "radicale": ("wsgi", "/.web/"),
    "datasette": ("asgi", "/shop/item.json"),
}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=[*ALL, *REAL],
        metavar="NAME",
        default=UNLIMITED,
        help=f"{', '.join([*ALL, *REAL])} [those of benchmarks.compare]",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "benchmarks-tune",
        help="for what is installed from PyPI; kept [%(default)s]",
    )
    parser.add_argument("--time", type=int, default=600, help="of each run of tune [600]")
    parser.add_argument("--rounds", type=int, default=5, help="beside the oracle [5]")
    parser.add_argument("--seconds", type=int, default=4, help="of load in each round [4]")
    parser.add_argument("--pattern", choices=load.PATTERNS, default="gradual", help="[gradual]")
    parser.add_argument(
        "--same",
        type=int,
        metavar="RUNS",
        help="one candidate against itself; a verdict takes three rounds, so --time 150 or more",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON of all")
    options = parser.parse_args()
    if options.same and options.workloads[0] not in ALL:
        parser.error("--same runs in this environment: use a workload that is not from PyPI")
    return options


def find_workload(name: str, folder: Path) -> Workload:
    """Return a workload; install it first if it comes from PyPI."""
    if name in ALL:
        return ALL[name]
    (interface, path), application = REAL[name], APPLICATIONS[name]
    programs = real_apps.install(application, folder / "venvs" / name)
    home = folder / "apps" / name
    environ = real_apps.environment(application, home, programs)
    real_apps.prepare(application, home, environ)
    return Workload(
        name,
        interface,
        application.target,
        "",
        path,
        environ=tuple(environ.items()),
        python=str(programs / "python"),
        folder=str(home),
    )


def url_of(workload: Workload) -> str:
    if not workload.body:
        return workload.path
    body = Path(tempfile.gettempdir()) / "benchmarks-tune-body.json"
    body.write_text(workload.body)
    return f"POST {workload.path} @{body}"


def words_for(workload: Workload) -> list[str]:
    """What a user would ask `tune` for."""
    words = ["--clients", str(workload.connections), "--interface", workload.interface]
    if workload is LIBRARY:
        words += ["--urls", "library/urls.txt"]
    else:
        words += ["--url", url_of(workload)]
    words += [word for header in workload.headers for word in ("--header", header)]
    return [*words, *(["--threads-safe"] if workload.interface == "wsgi" else [])]


def run_tune(workload: Workload, folder: Path, seconds: int) -> dict[str, object]:
    command = [workload.python, "-m", "gunicorn_autoconf", "tune", workload.application]
    command += [*words_for(workload), "--time", str(seconds), "--json"]
    done = subprocess.run(
        command,
        cwd=workload.folder or APPS,
        env=environment(folder) | dict(workload.environ),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 3):
        sys.exit(f"{workload.name}: tune ended with status {done.returncode}")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def way_of(best: dict[str, object]) -> Way:
    """The choice as `benchmarks.compare` starts it."""

    def start(workload: Workload, supply: Supply, address: str) -> Start:
        command = [workload.python, "-m", "gunicorn", "-c", "python:gunicorn_autoconf.conf"]
        command += ["-b", address, "-k", str(best["worker_class"])]
        command += ["-w", str(best["workers"]), "--threads", str(best["threads"])]
        return Start([*command, workload.application], {})

    return Way(f"tune: {best['label']}", "ours", BOTH, start)


def compare_choice(bench: Bench, workload: Workload, best: dict[str, object]) -> list[Sample]:
    swept = sweep(workload.interface, bench.supply, native_asgi=machine.has_native_asgi())
    return list(compare(bench, workload, [way_of(best)], swept, None))


def report(table: Table, told: dict[str, object]) -> float:
    """Print one line; return the median part of the oracle."""
    ours = next(row for row in table.rows if row.role == "ours")
    oracle = next(row for row in table.rows if row.is_oracle)
    part = ours.to_oracle.median if ours.to_oracle else 0.0
    verdict = told["verdict"]
    assert isinstance(verdict, dict)
    print(
        f"| {table.workload} | {ours.way} | {verdict['answer']} | {told['seconds']:.0f} s "
        f"| {ours.rate.median:,.0f} | {oracle.way} {oracle.rate.median:,.0f} | {part:.2f} |",
        flush=True,
    )
    return part


def against_the_oracle(options: argparse.Namespace) -> None:
    kept, parts = [], []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(
            wrk=load.require_wrk(),
            supply=machine.detect_supply(),
            folder=Path(name),
            patterns=[options.pattern],
            seconds=options.seconds,
            rounds=options.rounds,
        )
        workloads = [find_workload(each, options.folder) for each in options.workloads]
        prepare(workloads, bench.folder)
        print("| workload | choice | answer | took | rate | oracle | part of it |")
        print("|---|---|---|---|---|---|---|")
        for workload in workloads:
            told = run_tune(workload, bench.folder, options.time)
            verdict = told["verdict"]
            assert isinstance(verdict, dict)
            best = verdict["best"]
            samples = compare_choice(bench, workload, best) if best else []
            parts.append(report(tables(samples)[0], told) if samples else 0.0)
            kept.append({"workload": workload.name, "part": parts[-1], "tune": told})
            if options.output:  # Each time: a run takes long.
                options.output.write_text(json.dumps(kept, indent=1))
    good = sum(part >= GOOD_FRACTION for part in parts)
    print(f"\n{good} of {len(parts)} are at least {GOOD_FRACTION} of the oracle")


def against_itself(options: argparse.Namespace) -> None:
    """Let the plan run against itself as a user would run `tune`, and count the answers."""
    workload = ALL[options.workloads[0]]
    os.chdir(APPS)
    with tempfile.TemporaryDirectory() as name:
        prepare([workload], Path(name))
        asked = Asked(
            application=workload.application,
            requests=read_requests(urls=[url_of(workload)], headers=workload.headers),
            budget_seconds=options.time,
            declared={"interface": workload.interface},
        )
        session = prepare_tune(asked, environment(Path(name)) | dict(workload.environ))
        plan = session.given[0]
        answers: Counter[str] = Counter()
        for number in range(1, options.same + 1):
            run = Run(budget_seconds=options.time)
            # The origin is all that tells the two apart.
            run_session(session, run, print_line, [plan, replace(plan, origin=CURRENT)])
            verdict = conclude(session, run).verdict
            answers[verdict.answer.value] += 1
            print(f"{number}: {run.spent_seconds:.0f} s: {verdict.text}", flush=True)
    told = ", ".join(f"{count} {answer}" for answer, count in answers.most_common())
    print(f"\n{workload.name}, {plan.label} against itself: {told}")


def main() -> None:
    options = parse_options()
    (against_itself if options.same else against_the_oracle)(options)


if __name__ == "__main__":
    main()
