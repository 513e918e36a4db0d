"""What Gunicorn raises in a signal handler, while a step of ours around a fork runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, time
from gunicorn.errors import HaltServer
from gunicorn_autoconf.server.at_fork import around_forks

def step():
    # As the handler of SIGCHLD does in the middle of it.
    raise HaltServer("App failed to load.", 4)

around_forks(**{{"before": lambda: None, "after_in_parent": lambda: None, "{step}": step}})
try:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(60)
except HaltServer as error:
    print(error.reason, error.exit_status)
"""


@pytest.mark.parametrize("step", ["before", "after_in_parent"])
def test_end_of_the_server_is_not_lost_in_a_fork(step: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(step=step)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("App failed to load. 4\n", "")
