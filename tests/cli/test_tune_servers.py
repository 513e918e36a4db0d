"""`tune` on the real Gunicorn: candidates that fail, Ctrl-C, and that nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from harness import Launcher, wait_until
from patience import stretched

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.load import loading
from gunicorn_autoconf.cli.tune.measure import Bench, measure
from gunicorn_autoconf.cli.tune.outcome import Failure, Trouble
from gunicorn_autoconf.cli.tune.request import Request

pytestmark = [pytest.mark.server, pytest.mark.one_python]

# What becomes of a candidate is decided by how many workers it has.
APPLICATION = """
    import os, sys, time

    workers = int(sys.argv[-3])
    answered = 0
    if workers == 3:
        raise RuntimeError("no such database")
    if workers == 4:
        time.sleep(600)

    def app(environ, start_response):
        global answered
        answered += 1
        if workers == 5 and answered > 2:
            os.kill(os.getpid(), 9)
        if workers == 6 and answered > 2:
            time.sleep(600)
        if workers == 8 and answered > 2:
            os._exit(1)
        status = "500 Bad" if workers == 7 else "200 OK"
        time.sleep(0.01)
        start_response(status, [("Content-Length", "2")])
        return [b"ok"]
"""


def test_candidates_that_fail(gunicorn: Launcher) -> None:
    """Each is told apart from the others."""
    gunicorn.write("troubled.py", APPLICATION)

    def failure_of(workers: int) -> Failure:
        candidate = Candidate(worker_class="sync", workers=workers)
        with loading([Request()]) as load:
            bench = Bench(
                environ=gunicorn.environ({}),
                load=load,
                first_request=Request(),
                patience_seconds=stretched(3.0 if workers != 4 else 0.5),
                timeout_seconds=stretched(0.5),
                window_seconds=0.1,
                least_seconds=0.3,
            )
            words = ["--chdir", str(gunicorn.folder), "troubled:app", *candidate.arguments]
            result = measure(bench, words, seed=1, clients=4)
        assert isinstance(result, Failure)
        return result

    # They mostly wait.
    with ThreadPoolExecutor(6) as pool:
        failures = dict(enumerate(pool.map(failure_of, range(3, 9)), start=3))

    assert failures[3] == Failure(trouble=Trouble.NO_START, text="RuntimeError: no such database")
    assert failures[4].trouble is Trouble.SLOW_START
    assert failures[5].trouble is Trouble.OUT_OF_MEMORY
    assert failures[6].trouble is Trouble.NO_ANSWER
    assert failures[6].text.startswith("no answer in time, ")
    assert failures[7].trouble is Trouble.ERRORS
    assert failures[7].text.startswith("status 500, ")
    assert failures[8].trouble is Trouble.WORKERS_DIED
    assert "exited with code 1" in failures[8].text
    assert load_or_servers(gunicorn.folder) == []


def load_or_servers(folder: Path) -> list[str]:
    """The processes of `tune` that were started for this test."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words, environ = process.info["cmdline"] or [], process.info["environ"] or {}
        if environ.get("HOME") == str(folder) and any("cli.tune" in word for word in words):
            found.append(" ".join(words))
    return found


def test_interrupt_prints_what_is_known(gunicorn: Launcher) -> None:
    """And ends all that was started; a server that runs elsewhere is left alone."""
    gunicorn.write("slow.py", APPLICATION.replace("int(sys.argv[-3])", "1"))
    others = gunicorn.start("slow:app")
    address = ":".join(map(str, others.address))
    # Where the tests run in the background, a shell has Ctrl-C ignored.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from gunicorn_autoconf.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "tune", "slow:app"]
    log_path, environ = gunicorn.folder / "tune.log", gunicorn.environ({})
    environ["GUNICORN_BIND"] = address
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--clients", "4", "--interface", "wsgi", "--time", "10m"],
            cwd=gunicorn.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )

    def blocks() -> list[str]:
        return re.findall(r"^sync \d+: .+ within the limit", log_path.read_text(), re.MULTILINE)

    try:
        wait_until(lambda: len(blocks()) > 0, lambda: f"a block in {log_path.read_text()}", 60.0)
        wait_until(lambda: len(load_or_servers(gunicorn.folder)) > 1, "the next server")
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=stretched(30.0))
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 130, log_path.read_text()
    assert "the run was interrupted" in printed
    assert "Verdict\n  Cannot tell" in printed
    assert "--worker-class sync --workers" in printed
    assert load_or_servers(gunicorn.folder) == []
    assert others.get("/").status == 200
