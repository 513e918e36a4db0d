"""The load processes: starts them, hands out jobs, sums up what they have seen."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from types import TracebackType

from gunicorn_autoconf.cli.tune.job import Job, Seen, together
from gunicorn_autoconf.cli.tune.request import Request
from gunicorn_autoconf.errors import AutoconfError


class LoadProcesses:
    """
    One or several load processes, which end with the block.

    They are in sessions of their own: Ctrl-C on the terminal reaches only the parent, which ends
    them. Each ends by itself when its standard input closes, however the parent ended.
    """

    def __init__(
        self, requests: Sequence[Request], *, count: int = 1, cpus: Collection[int] = ()
    ) -> None:
        """
        Prepare *count* processes for *requests*.

        Args:
            cpus: The CPUs that they may use; empty for all.
        """
        self._setup = json.dumps([request.to_json() for request in requests]) + "\n"
        self._count = count
        self._cpus = frozenset(cpus)
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> LoadProcesses:
        command = [sys.executable, "-m", "gunicorn_autoconf.cli.tune.generator"]
        for _ in range(self._count):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._processes.append(process)
            if self._cpus and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, self._cpus)
            _write(process, self._setup)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()

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
        count = min(self._count, job.clients)
        for number, process in enumerate(self._processes[:count]):
            clients = job.clients // count + (number < job.clients % count)
            share = replace(
                job,
                clients=clients,
                rate=job.rate and job.rate * clients / job.clients,
                seed=job.seed * self._count + number,
            )
            _write(process, json.dumps(share.to_json()) + "\n")
        return together([_read(process) for process in self._processes[:count]])


def _write(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    try:
        process.stdin.write(line)
        process.stdin.flush()
    except OSError as error:
        raise _ended(process) from error


def _read(process: subprocess.Popen[str]) -> Seen:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise _ended(process)
    return Seen.from_json(json.loads(line))


def _ended(process: subprocess.Popen[str]) -> AutoconfError:
    return AutoconfError(f"the load process has ended, with status {process.wait()}")
