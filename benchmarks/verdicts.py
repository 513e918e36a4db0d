"""Is the verdict on a declared workload right? ``python -m benchmarks.verdicts [--short]``.

Each workload of `benchmarks.compare` runs on a server with each declaration that makes a
difference, until it has answered what a verdict rests on. The table shows the requests per second,
the advice in the log, the gain that it predicts, the gain that was measured with the advice
followed, and the one as a part of the other. Advice to change the code is followed by the same
application that awaits where it has blocked its loop. Advice to set threads is not followed.

The log says what the server could answer at most. Clients that wait for their answers ask for no
more than they are many, so here the prediction is cut to what they can ask for. A verdict is a
false alarm if its advice gains less than a quarter, and missed if another declaration has twice
the rate.

On a quiet machine all workloads take about 25 minutes; ``--short``, those whose requests wait and
two whose do not, about 15.
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

from gunicorn_autoconf.load.evidence import LEAST_REQUESTS

from .compare.__main__ import prepare
from .compare.load import begin, finish, require_wrk
from .compare.servers import APPS, ask
from .compare.workloads import UNLIMITED, WORKLOADS, Workload
from .load import gunicorn

# For WSGI `async` is as `io`, for ASGI `mixed` as none.
DECLARED = {"wsgi": ("none", "cpu", "mixed", "io"), "asgi": ("none", "cpu", "io", "async")}
SHORT = ("compute-wsgi", "mixed-wsgi", "wait-threads", "wait-pool", "block", "fastapi")
FALSE_GAIN, MISSED_GAIN = 1.25, 2.0
NEAR_FRACTION = 0.25
CODE = "code"
# Load comes in parts; the first one warms up and is not measured.
PART_SECONDS, MOST_PARTS = 8, 9
DRAIN_SECONDS = 60
LOG_SECONDS = "2"
_NUMBER = r"([\d,.]+)/s"
_LINE = re.compile(
    rf"(requests (?:compute|block|wait) .*can answer {_NUMBER}, .*up to {_NUMBER}; (.*))"
)
_TAKES = re.compile(r"(?:of their|event loop for) ([\d.]+) (m?s)\b")


class Cell(NamedTuple):
    """What one workload did on one declaration."""

    rate: float
    line: str = ""
    gain: float = 1.0
    """Predicted."""
    advice: str = ""
    """What to declare; empty without a verdict, `CODE` where it names no workload."""


def run(workload: Workload, declared: str) -> Cell:
    """Put load on a server with this declaration; nothing changes its count of workers."""
    environ = dict(workload.environ) | {"GUNICORN_MEMORY": "16GiB", "GUNICORN_LOAD_GUARD": "off"}
    environ["GUNICORN_MEMORY_LOG_INTERVAL"] = LOG_SECONDS
    if declared != "none":
        environ["GUNICORN_WORKLOAD"] = declared
    with tempfile.TemporaryDirectory() as name:
        prepare([workload], Path(name))
        words = ["-c", "python:gunicorn_autoconf.conf", workload.application]
        rates: list[float] = []
        with gunicorn(Path(name), words, environ, APPS) as address:
            # A fifth more than it takes: the last ones come after the last look.
            while len(rates) < 2 or sum(rates) * PART_SECONDS < LEAST_REQUESTS * 1.2:
                load = begin(require_wrk(), workload, "new", address, PART_SECONDS)
                rates.append(finish(load, "new").rate)
                # The connections that wrk leaves behind are served before this one.
                ask(address, workload, DRAIN_SECONDS)
                if len(rates) == MOST_PARTS:
                    break
        said = _LINE.findall((Path(name) / "server.log").read_text())
    rate = sum(rates[1:]) / len(rates[1:])
    if not said:
        return Cell(rate)
    line, *numbers, remedy = said[-1]
    word = re.search(r"GUNICORN_WORKLOAD=(\w+)", remedy)
    now, could = (float(number.replace(",", "")) for number in numbers)
    gain = min(could, _most(line, now, workload)) / now
    return Cell(rate, line, gain, word[1] if word else CODE)


def _most(line: str, now: float, workload: Workload) -> float:
    """Return how many requests a second the clients can ask for: each waits for its answer."""
    if takes := _TAKES.search(line):
        seconds = float(takes[1]) / (1000 if takes[2] == "ms" else 1)
    elif threads := re.search(r"(\d+) threads can answer", line):
        seconds = int(threads[1]) / now
    else:
        return math.inf
    return workload.connections / seconds


def judged(cell: Cell, cells: dict[str, Cell], followed: Cell | None) -> str:
    """Return whether the verdict of *cell* is right, by the rates of all declarations."""
    best = max(cells, key=lambda name: cells[name].rate)
    if not cell.advice:
        missed = cells[best].rate >= cell.rate * MISSED_GAIN
        return f"missed: {best}" if missed else "right"
    if followed is None:
        return "not followed"
    return "right" if followed.rate >= cell.rate * FALSE_GAIN else "false alarm"


def report(names: list[str], declared: list[str]) -> None:
    """Print a row for each workload and declaration, how many are right, and what was said."""
    print("| workload | declared | rate | advice | predicted | measured | ratio | |")
    print("|---|---|---|---|---|---|---|---|")
    lines, verdicts, ratios = [], [], []
    for name in names:
        workload = WORKLOADS[name]
        words = [word for word in DECLARED[workload.interface] if word in declared]
        cells = {word: run(workload, word) for word in words}
        for word, cell in cells.items():
            followed = cells.get(cell.advice)
            if cell.advice == CODE and workload.path == "/block":
                followed = run(workload._replace(path="/wait"), word)
            verdicts.append(judged(cell, cells, followed))
            predicted = f"{cell.gain:.1f}" if cell.advice else ""
            measured = ratio = ""
            if followed:
                gain = followed.rate / cell.rate
                ratios.append(cell.gain / gain)
                measured, ratio = f"{gain:.1f}", f"{ratios[-1]:.2f}"
            print(
                f"| {name} | {word} | {cell.rate:.0f}/s | {cell.advice} | {predicted} "
                f"| {measured} | {ratio} | {verdicts[-1]} |",
                flush=True,
            )
            lines += [f"{name}, {word}: {cell.line}"] if cell.line else []
    near = sum(abs(ratio - 1) <= NEAR_FRACTION for ratio in ratios)
    print(f"\n{verdicts.count('right')} of {len(verdicts)} right, ", end="")
    print(f"{near} of {len(ratios)} predicted gains within {NEAR_FRACTION:.0%} of the measured\n")
    print(*lines, sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = sorted({word for words in DECLARED.values() for word in words})
    parser.add_argument("--short", action="store_true", help=f"only {', '.join(SHORT)}")
    parser.add_argument("--workloads", nargs="+", choices=UNLIMITED, default=None)
    parser.add_argument("--declared", nargs="+", choices=every, default=every)
    options = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        print(f"load average {os.getloadavg()[0]:.1f}: others use this machine", file=sys.stderr)
    report(options.workloads or list(SHORT if options.short else UNLIMITED), options.declared)


if __name__ == "__main__":
    main()
