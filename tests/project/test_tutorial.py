"""
The tutorial, as a reader follows it: every step in order, in one folder, against the real server.

A comment before a block in docs/tutorial.md says what is done with it:

    <!-- step: NAME.py -->   is saved under that name
    <!-- step: serve -->     is run in the first terminal; what ran there is stopped before
    <!-- step: run -->       is run in the second terminal and succeeds
    <!-- step: log -->       are lines of the first terminal, in this order; a number stands for any
                             number, "..." for anything

Only the port is another one, as tests run beside each other.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sysconfig
from collections.abc import Iterator

import pytest
from harness import STOP_SECONDS, Launcher, Server
from pages import BLOCKS, Block
from patience import stretched

pytestmark = pytest.mark.one_python

STEPS = [
    block
    for block in BLOCKS
    if block.place.startswith("docs/tutorial.md:") and (block.comment or "").startswith("step: ")
]
SCRIPTS = sysconfig.get_path("scripts")


def pattern(line: str) -> str:
    """
    A line of a log as a regular expression.

    What a terminal shows as information is debugging's in the file that the test reads.
    """
    line = line.replace("[INFO] gunicorn-autoconf:", "gunicorn-autoconf:")
    loose = {"...": ".*", " ": " +", "0": r"[\d.]+"}
    parts = re.split(r"(\.\.\.|\d+(?:\.\d+)?| +)", line)
    kinds = (re.sub(r"^ +$", " ", re.sub(r"^\d.*", "0", part)) for part in parts)
    return "".join(loose.get(kind, re.escape(kind)) for kind in kinds)


class Reader:
    """Someone with two terminals who does what a page says."""

    def __init__(self, gunicorn: Launcher) -> None:
        self._gunicorn = gunicorn
        self._server: Server | None = None
        self._read = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    def follow(self, block: Block) -> None:
        what = (block.comment or "").removeprefix("step: ")
        if what == "serve":
            self._serve(block.text)
        elif what == "run":
            self._run(block.text)
        elif what == "log":
            self._look(block.text)
        else:
            self._gunicorn.write(what, block.text)

    def stop(self) -> None:
        if self._server:
            # A worker that the guard has just forked may lose the signal.
            self._server.stop(STOP_SECONDS)
            self._server = None

    def _serve(self, text: str) -> None:
        self.stop()
        words = shlex.split(text.replace("\\\n", " "))
        variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        program, *arguments = words[len(variables) :]
        assert program == "gunicorn"
        self._server = self._gunicorn.start(
            *arguments,
            program=[os.path.join(SCRIPTS, program)],
            bind=None,
            **variables,
            GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:{self._port}",
        )
        self._read = 0

    def _run(self, text: str) -> None:
        environ = self._gunicorn.environ({})
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text.replace(":8000/", f":{self._port}/")],
            cwd=self._gunicorn.folder,
            env={**environ, "PATH": os.pathsep.join([SCRIPTS, environ["PATH"]])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=stretched(120),
            check=False,
        )
        assert result.returncode == 0, result.stdout

    def _look(self, text: str) -> None:
        assert self._server is not None
        for line in text.splitlines():
            found = self._server.wait_for(pattern(line), since=self._read)
            self._read = found.end()


@pytest.fixture
def reader(gunicorn: Launcher) -> Iterator[Reader]:
    reader = Reader(gunicorn)
    yield reader
    reader.stop()


def test_pattern_is_loose_about_numbers_only() -> None:
    line = "[INFO] gunicorn-autoconf: worker 42 booted in 0.35 s: ..."

    seen = "x [DEBUG] gunicorn-autoconf: worker 7 {} in 12.1 s: rss=1MiB"
    assert re.search(pattern(line), seen.format("booted"))
    assert not re.search(pattern(line), seen.format("exited"))
    assert re.search(pattern("  workers  5  ..."), "[INFO]   workers          9         floor")


@pytest.mark.server
@pytest.mark.slow
def test_tutorial(reader: Reader) -> None:
    assert len(STEPS) >= 15
    for step in STEPS:
        reader.follow(step)
