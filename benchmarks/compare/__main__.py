"""
What people use instead, and this package, side by side: ``python -m benchmarks.compare``.

Runs each workload in each way, in interleaved rounds, and writes a Markdown table, JSON and charts.
docs/explanation/benchmark-method.md says how to read them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import charts, load, machine, report
from .figures import Sample, tables
from .rounds import Bench, compare
from .servers import APPS, environment
from .ways import WAYS, distinct, sweep
from .workloads import SIZED, UNLIMITED, WORKLOADS, Workload

ORACLE = "oracle"


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    several = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument(
        "--workloads",
        choices=WORKLOADS,
        **several,
        help=f"{', '.join(WORKLOADS)} [all but those of a size; under --limits only those]",
    )
    parser.add_argument(
        "--ways",
        choices=[*WAYS, ORACLE],
        default=[*WAYS, ORACLE],
        **several,
        help=f"{', '.join([*WAYS, ORACLE])} [all]",
    )
    parser.add_argument(
        "--patterns",
        choices=load.PATTERNS,
        default=list(load.PATTERNS),
        **several,
        help="; ".join(f"{name}: {what}" for name, what in load.PATTERNS.items()) + " [all]",
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each way [5]")
    parser.add_argument("--seconds", type=int, default=5, help="of load in each pattern [5]")
    parser.add_argument(
        "--limits",
        type=int,
        nargs="+",
        metavar="MIB",
        help="run in memory cgroups of these sizes, such as 256 512 1024; takes root",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where summary.md, compare.md, compare.json and the charts go [tables, to stdout]",
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = parse_options()
    wrk = load.require_wrk()
    workloads = [WORKLOADS[name] for name in chosen_workloads(options)]
    limits: list[int | None] = options.limits or [None]
    for name, why in machine.missing_ways().items():
        if name in options.ways:
            print(f"left out: {name}: {why}", file=sys.stderr)
    supply = machine.detect_supply()
    about = machine.describe(supply)
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(
            wrk=wrk,
            supply=supply,
            folder=Path(name),
            patterns=options.patterns,
            seconds=options.seconds,
            rounds=options.rounds,
        )
        prepare(workloads, bench.folder)
        for workload in workloads:
            for limit in limits:
                samples += compare_one(bench, workload, limit, options.ways)
                if options.output:  # Each time: a run takes long, and may be interrupted.
                    write(samples, about, options.output)
    print(report.render_summary(tables(samples)))
    print(report.render_markdown(samples, about), end="")


def chosen_workloads(options: argparse.Namespace) -> list[str]:
    names: list[str] | None = options.workloads
    return names or (SIZED if options.limits else UNLIMITED)


def prepare(workloads: Sequence[Workload], folder: Path) -> None:
    """Make what the applications read, once for all that share it."""
    for arguments in {workload.prepare for workload in workloads if workload.prepare}:
        command = [sys.executable, *arguments]
        subprocess.run(command, cwd=APPS, env=environment(folder), check=True)


def compare_one(
    bench: Bench, workload: Workload, limit: int | None, names: list[str]
) -> Iterator[Sample]:
    """Yield the samples of one workload under one limit, in the ways that fit it."""
    fitting = [way for way in machine.runnable(names) if workload.interface in way.interfaces]
    ways = distinct(fitting, workload, bench.supply_under(limit))
    native_asgi = machine.has_native_asgi()
    swept = sweep(workload.interface, bench.supply, native_asgi=native_asgi)
    return compare(bench, workload, ways, swept if ORACLE in names else [], limit)


def write(samples: Sequence[Sample], about: dict[str, object], folder: Path) -> None:
    """Write the report and the charts into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = report.render_summary(tables(samples))
    (folder / "summary.md").write_text(summary)
    (folder / "compare.md").write_text(report.render_markdown(samples, about))
    (folder / "compare.json").write_text(report.render_json(samples, about))
    try:
        charts.draw(tables(samples), folder)
    except ImportError:
        print(charts.MISSING, file=sys.stderr)


if __name__ == "__main__":
    main()
