"""The load processes: starts them, hands out jobs, sums up what they have seen."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from gunicorn_autoconf.cli.tune.job import Job, Seen, together
from gunicorn_autoconf.cli.tune.request import Request
from gunicorn_autoconf.errors import AutoconfError


class LoadProcesses:
    """One or several load processes that run."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    @property
    def pids(self) -> list[int]:
        """The process ids."""
        return [process.pid for process in self._processes]

    def run(self, job: Job) -> Seen:
        """
        Do *job* and return what was seen.

        Raises:
            AutoconfError: A load process has ended.
        """
        count = min(len(self._processes), job.clients)
        for number, process in enumerate(self._processes[:count]):
            clients = job.clients // count + (number < job.clients % count)
            share = replace(
                job,
                clients=clients,
                rate=job.rate and job.rate * clients / job.clients,
                seed=job.seed * len(self._processes) + number,
            )
            _write(process, json.dumps(share.to_json()) + "\n")
        return together([_read(process) for process in self._processes[:count]])


@contextlib.contextmanager
def loading(
    requests: Sequence[Request], *, count: int = 1, cpus: Collection[int] = ()
) -> Iterator[LoadProcesses]:
    """
    Start *count* load processes for *requests*; end them with the block.

    They are in sessions of their own: Ctrl-C on the terminal reaches only the parent, which ends
    them. Each ends by itself when its standard input closes, however the parent ended. They use
    the *cpus*, or all where it is empty.
    """
    setup = json.dumps([request.to_json() for request in requests]) + "\n"
    command = [sys.executable, "-m", "gunicorn_autoconf.cli.tune.generator"]
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(count):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            stack.callback(_end, process)
            processes.append(process)
            if cpus and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, cpus)
            _write(process, setup)
        for process in processes:  # Jobs begin at the same time in all of them.
            _read_line(process)
        yield LoadProcesses(processes)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


def _write(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    try:
        process.stdin.write(line)
        process.stdin.flush()
    except OSError as error:
        raise _ended(process) from error


def _read(process: subprocess.Popen[str]) -> Seen:
    return Seen.from_json(json.loads(_read_line(process)))


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise _ended(process)
    return line


def _ended(process: subprocess.Popen[str]) -> AutoconfError:
    return AutoconfError(f"the load process has ended, with status {process.wait()}")
