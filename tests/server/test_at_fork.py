"""What Gunicorn raises in a signal handler, while a step of ours around a fork runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A real arbiter, whose main loop forks. The step does what the handler of SIGCHLD does in the
# middle of it.
PROGRAM = """
import os, sys
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn_autoconf.server.at_fork import around_forks

raised = []

def step():
    if not raised:
        raised.append(True)
        raise HaltServer("App failed to load.", 4)

class Application(BaseApplication):
    def load_config(self):
        self.cfg.set("bind", "127.0.0.1:0")
        self.cfg.set("workers", 2)
        if "control_socket_disable" in self.cfg.settings:
            self.cfg.set("control_socket_disable", True)

    def load(self):
        return lambda environ, start_response: []

around_forks(**{{"before": lambda: None, "after_in_parent": lambda: None, "{step}": step}})
arbiter = Arbiter(Application())
try:
    arbiter.run()
except SystemExit as error:
    if os.getpid() == arbiter.pid:
        print(error.code, bool(arbiter.WORKERS))
"""


@pytest.mark.each_gunicorn
@pytest.mark.server
@pytest.mark.parametrize("step", ["before", "after_in_parent"])
def test_end_of_the_server_is_not_lost_in_a_fork(step: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(step=step)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "4 False\n", done.stderr
    assert "Reason: App failed to load." in done.stderr
    assert "Traceback" not in done.stderr
