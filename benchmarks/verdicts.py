"""Is the verdict on a declared workload right? ``python -m benchmarks.verdicts``.

Each workload of `benchmarks.compare` runs on a server with each declaration. The table shows the
requests per second, the advice of the verdict in the log, the gain that the verdict predicts, and
the gain that was measured with its advice declared. The prediction is cut to what the clients can
ask for. A verdict is a false alarm if its advice gains less than a quarter, and missed if another
declaration has twice the rate. Advice to change the code, or to set threads, is not checked.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from .compare.__main__ import prepare
from .compare.load import begin, finish, require_wrk
from .compare.servers import APPS
from .compare.workloads import UNLIMITED, WORKLOADS, Workload
from .load import gunicorn

DECLARED = ("none", "cpu", "mixed", "io", "async")
FALSE_GAIN, MISSED_GAIN = 1.25, 2.0
_NUMBER = r"([\d,.]+)/s"
_LINE = re.compile(
    rf"(requests (?:compute|block|wait) .*can answer {_NUMBER}, .*could {_NUMBER}; (.*))"
)


class Cell(NamedTuple):
    """What one workload did on one declaration."""

    rate: float
    line: str = ""
    gain: float = 1.0
    """Predicted."""
    advice: str = ""
    """What to declare; empty without a verdict, ``code`` where it names no workload."""


def run(workload: Workload, declared: str, seconds: int) -> Cell:
    """Put load on a server with this declaration; nothing changes its count of workers."""
    environ = dict(workload.environ) | {"GUNICORN_MEMORY": "16GiB", "GUNICORN_LOAD_GUARD": "off"}
    if declared != "none":
        environ["GUNICORN_WORKLOAD"] = declared
    with tempfile.TemporaryDirectory() as name:
        prepare([workload], Path(name))
        words = ["-c", "python:gunicorn_autoconf.conf", workload.application]
        with gunicorn(Path(name), words, environ, APPS) as address:
            rate = finish(begin(require_wrk(), workload, "new", address, seconds), "new").rate
        said = _LINE.findall((Path(name) / "server.log").read_text())
    if not said:
        return Cell(rate)
    line, *numbers, remedy = said[-1]
    word = re.search(r"GUNICORN_WORKLOAD=(\w+)", remedy)
    now, could = (float(number.replace(",", "")) for number in numbers)
    return Cell(
        rate, line, min(could, _most(line, now, workload)) / now, word[1] if word else "code"
    )


def _most(line: str, now: float, workload: Workload) -> float:
    """Return how many requests a second the clients can ask for: each waits for its answer."""
    if takes := re.search(r"of their ([\d.]+) (m?s):", line):
        seconds = float(takes[1]) / (1000 if takes[2] == "ms" else 1)
    elif threads := re.search(r"(\d+) threads can answer", line):
        seconds = int(threads[1]) / now
    else:
        return math.inf
    return workload.connections / seconds


def judged(cell: Cell, cells: dict[str, Cell]) -> str:
    """Return whether the verdict of *cell* is right, by the rates of all declarations."""
    best = max(cells, key=lambda name: cells[name].rate)
    if not cell.advice:
        missed = cells[best].rate >= cell.rate * MISSED_GAIN
        return f"missed: {best}" if missed else "right"
    if cell.advice not in cells:
        return "about the code"
    return "right" if cells[cell.advice].rate >= cell.rate * FALSE_GAIN else "false alarm"


def report(names: list[str], seconds: int, declared: list[str]) -> None:
    """Print a row for each workload and declaration, and the lines that were said."""
    print("| workload | declared | rate | advice | predicted | measured | |")
    print("|---|---|---|---|---|---|---|")
    lines = []
    for name in names:
        workload = WORKLOADS[name]
        cells = {word: run(workload, word, seconds) for word in declared}
        for word, cell in cells.items():
            advised = cells.get(cell.advice)
            predicted = f"{cell.gain:.1f}" if cell.advice else ""
            measured = f"{advised.rate / cell.rate:.1f}" if advised else ""
            print(
                f"| {name} | {word} | {cell.rate:.0f}/s | {cell.advice} | {predicted} "
                f"| {measured} | {judged(cell, cells)} |",
                flush=True,
            )
            lines += [f"{name}, {word}: {cell.line}"] if cell.line else []
    print(*lines, sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="of load for each server [60]")
    parser.add_argument("--workloads", nargs="+", choices=UNLIMITED, default=UNLIMITED)
    parser.add_argument("--declared", nargs="+", choices=DECLARED, default=list(DECLARED))
    options = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        print(f"load average {os.getloadavg()[0]:.1f}: others use this machine", file=sys.stderr)
    report(options.workloads, options.seconds, options.declared)


if __name__ == "__main__":
    main()
