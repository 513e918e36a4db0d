"""The load processes: starts them, hands out jobs, sums up what they have seen."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from gunicorn_autoconf.cli.tune.job import Job, Seen, receive, send, together
from gunicorn_autoconf.cli.tune.request import Request
from gunicorn_autoconf.errors import AutoconfError


class LoadProcesses:
    """One or several load processes that run."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
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
            _write(process, share)
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
    command = [sys.executable, "-m", "gunicorn_autoconf.cli.tune.generator"]
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(count):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            stack.callback(_end, process)
            processes.append(process)
            if cpus and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, cpus)
            _write(process, list(requests))
        for process in processes:  # Jobs begin at the same time in all of them.
            _read(process)
        yield LoadProcesses(processes)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


def _write(process: subprocess.Popen[bytes], value: object) -> None:
    assert process.stdin
    try:
        send(process.stdin, value)
    except OSError as error:
        raise _ended(process) from error


def _read(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout
    try:
        return receive(process.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        raise _ended(process) from error


def _ended(process: subprocess.Popen[bytes]) -> AutoconfError:
    process.kill()  # One that still runs makes no sense.
    return AutoconfError(f"the load process has ended, with status {process.wait()}")
