"""`gunicorn-autoconf top` beside real servers: its numbers, its ways to find them, its screen."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyte
import pytest
from cgroups import Cgroup
from click.testing import CliRunner, Result
from harness import (
    GUNICORN_SCRIPT,
    MODULE_DOOR,
    PYTHON_GUNICORN,
    Launcher,
    Server,
    launching,
    wait_until,
)
from patience import stretched

from gunicorn_autoconf import detect_machine
from gunicorn_autoconf.cli.main import main
from gunicorn_autoconf.cli.top import arbiters
from gunicorn_autoconf.cli.top import command as top_command

pytestmark = [pytest.mark.server, pytest.mark.one_python]

MIB = 1024 * 1024
TOP = (sys.executable, "-m", "gunicorn_autoconf", "top")
WSGI = "gunicorn_autoconf.demo:wsgi_app"
OURS = (*MODULE_DOOR, "gunicorn_autoconf.demo:app")
TWO = {"GUNICORN_WORKERS": "2", "GUNICORN_WORKLOAD": "cpu"}

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def top(gunicorn: Launcher, *arguments: str, **variables: str) -> Any:
    """The document that ``top --json`` prints."""
    done = gunicorn.run("--json", *arguments, program=TOP, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


READY = """
    def post_worker_init(worker):
        worker.log.info("worker %s is ready", worker.pid)
"""


def plain(
    gunicorn: Launcher,
    *arguments: str,
    app: str = WSGI,
    workers: int = 2,
    program: Sequence[str] = PYTHON_GUNICORN,
) -> Server:
    """A Gunicorn without our configuration, once its workers have booted."""
    gunicorn.write("ready.py", READY)
    options = ("-c", "ready.py", "-w", str(workers))
    server = gunicorn.start(*options, *arguments, app, program=program)
    wait_until(lambda: len(server.lines("is ready")) == workers, f"{workers} workers are ready")
    return server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers for the tests that only look at it."""
    with launching(tmp_path_factory.mktemp("shared")) as launcher:
        yield plain(launcher)


def ours(gunicorn: Launcher) -> Server:
    server = gunicorn.start(*OURS, **TWO)
    server.wait_for_workers(2)
    return server


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["top", *arguments])


# The numbers.


@pytest.mark.parametrize("start", [plain, ours])
def test_numbers_are_those_of_the_system(
    gunicorn: Launcher, start: Callable[[Launcher], Server]
) -> None:
    server = start(gunicorn)

    document = top(gunicorn, "--pid", str(server.pid))

    assert document["schema"] == 2
    assert document["arbiter"]["pid"] == server.pid
    assert " -m gunicorn --bind 127.0.0.1:0 " in document["command"]
    assert {worker["pid"] for worker in document["workers"]} == server.worker_pids()
    for shown in (document["arbiter"], *document["workers"]):
        process = psutil.Process(shown["pid"])
        memory = process.memory_full_info()
        assert shown["rss_bytes"] == pytest.approx(memory.rss, abs=2 * MIB)
        assert shown["uss_bytes"] == pytest.approx(memory.uss, abs=2 * MIB)
        assert shown["age_seconds"] == pytest.approx(
            time.time() - process.create_time(), abs=stretched()
        )
        assert shown["cpu_seconds"] <= sum(process.cpu_times()[:2]) + 0.01
        assert shown["state"] in {"running", "sleeping", "disk-sleep"}
    assert document["cores"] == detect_machine().cpu.cores


@linux
def test_sizes_are_those_of_proc(gunicorn: Launcher, shared: Server) -> None:

    document = top(gunicorn, str(shared.pid))

    for shown in document["workers"]:
        text = Path(f"/proc/{shown['pid']}/smaps_rollup").read_text(encoding="ascii")
        rows = re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)
        kib = {name: int(value) for name, value in rows}
        private = kib["Private_Clean"] + kib["Private_Dirty"]
        assert shown["rss_bytes"] == pytest.approx(kib["Rss"] * 1024, abs=2 * MIB)
        assert shown["pss_bytes"] == pytest.approx(kib["Pss"] * 1024, abs=2 * MIB)
        assert shown["uss_bytes"] == pytest.approx(private * 1024, abs=2 * MIB)


BUSY = """
    import threading
    from gunicorn_autoconf.demo import wsgi_app as app

    def compute():
        while True:
            sum(range(10_000))

    threading.Thread(target=compute, daemon=True).start()
"""


def test_who_computes_shows(gunicorn: Launcher) -> None:
    gunicorn.write("busy.py", BUSY)
    server = plain(gunicorn, app="busy:app", workers=1)

    document = top(gunicorn, "--pid", str(server.pid), "--interval", "2")

    (worker,) = document["workers"]
    # Of a machine that may be busy with other things.
    assert 5 < worker["cpu_percent"] < 200
    assert document["arbiter"]["cpu_percent"] < 5
    assert document["cpu_percent"] >= worker["cpu_percent"]


@pytest.mark.cgroup
@linux
def test_limit_is_that_of_the_server(cgroup: Cgroup, gunicorn: Launcher) -> None:
    confined = replace(gunicorn, wrapper=cgroup.wrapper)
    server = plain(confined)

    memory = top(gunicorn, "--pid", str(server.pid))["memory"]

    assert memory["limit_bytes"] == 314_572_800
    assert memory["source"] == str(cgroup.limit_file)
    assert memory["reserve_bytes"] == 31_457_280
    assert 0 < memory["headroom_bytes"] < 314_572_800
    assert memory["budget_bytes"] <= 283_115_520


def test_what_the_server_was_told_of_memory_counts(gunicorn: Launcher) -> None:
    told = {"GUNICORN_MEMORY": "512MiB", "GUNICORN_MEMORY_RESERVE": "25%"}
    server = gunicorn.start(*OURS, **TWO, **told)
    server.wait_for_workers(2)

    memory = top(gunicorn, "--pid", str(server.pid), GUNICORN_MEMORY="1GiB")["memory"]

    assert memory["source"] == "GUNICORN_MEMORY"
    assert memory["limit_bytes"] == 536_870_912
    assert memory["budget_bytes"] == 402_653_184
    assert memory["headroom_bytes"] == 536_870_912 - memory["server_bytes"]
    assert memory["others_bytes"] == 0


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_users_processes_show_what_may_be_seen(gunicorn: Launcher, shared: Server) -> None:
    # Everything is loaded first: another user may not be able to read this Python.
    program = """
        import os, sys, encodings.idna, psutil
        from gunicorn_autoconf.cli.main import main
        psutil.Process().memory_full_info()
        os.setgid(65534)
        os.setuid(65534)
        main()
    """
    path = gunicorn.write("as_nobody.py", program)

    done = gunicorn.run(
        *("--json", "--pid", str(shared.pid)), program=(sys.executable, str(path), "top")
    )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)

    assert {worker["pid"] for worker in document["workers"]} == shared.worker_pids()
    for worker in document["workers"]:
        assert worker["rss_bytes"] > 5 * MIB
        assert (worker["pss_bytes"], worker["uss_bytes"]) == (None, None)
    assert document["untold"] == "it runs as another user"


# Finding it.


def test_arbiters_are_found(gunicorn: Launcher) -> None:
    # Other tests' servers are found, too.
    first = plain(gunicorn, program=PYTHON_GUNICORN)
    second = plain(gunicorn, program=GUNICORN_SCRIPT)

    found = arbiters.select_arbiters(arbiters.list_processes(os.geteuid()))

    pids = {arbiter.pid for arbiter in found}
    assert {first.pid, second.pid} <= pids
    assert pids & (first.worker_pids() | second.worker_pids()) == set()


# What setproctitle does: it writes over the arguments that the process was started with.
SETPROCTITLE = """
    import ctypes

    def setproctitle(title):
        with open("/proc/self/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        room = end - start
        ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\\0"), room)

    def getproctitle():
        return ""
"""


@linux
def test_titles_are_known(gunicorn: Launcher) -> None:
    gunicorn.write("setproctitle.py", SETPROCTITLE)
    server = plain(gunicorn, "--name", "shop")

    document = top(gunicorn, "--pid", str(server.pid))
    found = arbiters.select_arbiters(arbiters.list_processes(os.geteuid()))

    assert document["command"] == "gunicorn: master [shop]"
    assert {worker["pid"] for worker in document["workers"]} == server.worker_pids()
    assert server.pid in {arbiter.pid for arbiter in found}
    assert server.worker_pids() & {arbiter.pid for arbiter in found} == set()


def test_upgrade_has_two_arbiters(gunicorn: Launcher) -> None:
    server = plain(gunicorn, program=GUNICORN_SCRIPT)
    old_workers, since = server.worker_pids(), server.mark()
    server.signal(signal.SIGUSR2)
    new = int(server.wait_for(r"Listening at: \S+ \((\d+)\)", since=since).group(1))
    wait_until(lambda: len(psutil.Process(new).children()) == 2, "the new arbiter's workers")
    wait_until(lambda: len(server.lines("is ready")) == 4, "they boot")
    new_workers = {child.pid for child in psutil.Process(new).children()}

    found = arbiters.select_arbiters(arbiters.list_processes(os.geteuid()))
    shown = {pid: top(gunicorn, "--pid", str(pid)) for pid in (server.pid, new)}

    assert {server.pid, new} <= {arbiter.pid for arbiter in found}
    assert (old_workers | new_workers) & {arbiter.pid for arbiter in found} == set()
    assert {worker["pid"] for worker in shown[server.pid]["workers"]} == old_workers
    assert {worker["pid"] for worker in shown[new]["workers"]} == new_workers
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.adopt(new)


def test_pidfile_of_a_daemon(gunicorn: Launcher) -> None:
    pidfile = gunicorn.folder / "gunicorn.pid"
    server = gunicorn.launch(
        *("--daemon", "--pid", str(pidfile), "--error-logfile", str(gunicorn.folder / "log"), WSGI),
        program=GUNICORN_SCRIPT,
    )
    wait_until(pidfile.exists, "the pidfile is there")
    server.adopt(int(pidfile.read_text()))
    log = gunicorn.folder / "log"
    wait_until(lambda: "Booting worker with pid" in log.read_text(), "its worker boots")

    document = top(gunicorn, "--pidfile", str(pidfile))

    assert document["arbiter"]["pid"] == server.pid
    assert {worker["pid"] for worker in document["workers"]} == server.worker_pids()


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "Error: no running Gunicorn was found; name one by --pid or --pidfile\n"),
        (
            [
                arbiters.Listed(10, 1, ("gunicorn", "a:app")),
                arbiters.Listed(11, 10, ("gunicorn", "a:app")),
                arbiters.Listed(20, 1, ("gunicorn", "b:app")),
            ],
            (
                "Error: 2 arbiters are running, choose one by --pid:\n"
                "  10: gunicorn a:app\n"
                "  20: gunicorn b:app\n"
            ),
        ),
    ],
)
def test_none_and_several(
    monkeypatch: pytest.MonkeyPatch, listed: list[arbiters.Listed], message: str
) -> None:
    monkeypatch.setattr(arbiters, "list_processes", lambda user_id: listed)

    result = invoke("--once")

    assert (result.output, result.exit_code) == (message, 2)


def test_what_is_no_arbiter(gunicorn: Launcher, shared: Server) -> None:
    worker = min(shared.worker_pids())
    empty = gunicorn.write("empty.pid", "")
    missing = gunicorn.folder / "missing.pid"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stale = gunicorn.write("stale.pid", f"{other.pid}\n")
    none = f"process {other.pid} is not Gunicorn"
    messages = {
        ("--pid", str(worker)): f"--pid={worker}: that is a worker, its arbiter is {shared.pid}",
        ("--pid", str(ended.pid)): f"--pid={ended.pid}: there is no such process",
        ("--pid", str(other.pid)): f"--pid={other.pid}: {none}",
        ("--pidfile", str(stale)): f"--pidfile='{stale}': {none}",
        ("--pid", "-1"): "--pid=-1: there is no such process",
        ("--pidfile", str(empty)): f"--pidfile='{empty}': it holds no pid",
        ("--pidfile", str(missing)): f"--pidfile='{missing}': No such file or directory",
    }

    with other:
        for arguments, message in messages.items():
            result = invoke("--once", *arguments)
            assert (result.output, result.exit_code) == (f"Error: {message}\n", 2)

    # This process has started the server, as a container's shell or init would have.
    above = invoke("--once", str(os.getpid())).output
    assert f"process {os.getpid()} is not Gunicorn; it started Gunicorn as " in above


FROM_WITHIN = """
    import os
    from gunicorn.app.base import BaseApplication
    from gunicorn_autoconf.demo import wsgi_app

    class Within(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", "unix:within.sock")
            self.cfg.set("workers", 2)
            self.cfg.set("post_worker_init", lambda worker: os.write(1, b"is ready\\n"))

        def load(self):
            return wsgi_app

    Within().run()
"""


def test_a_program_that_runs_gunicorn_from_within(gunicorn: Launcher) -> None:
    path = gunicorn.write("within.py", FROM_WITHIN)
    command = [sys.executable, str(path)]
    with subprocess.Popen(command, cwd=gunicorn.folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == [b"is ready\n"] * 2
            document = top(gunicorn, "--pid", str(process.pid))
        finally:
            process.terminate()
    assert len(document["workers"]) == 2


# Without a terminal, without rich.


def test_json_needs_no_rich(gunicorn: Launcher, shared: Server) -> None:
    program = """
        import sys
        sys.modules["rich"] = None
        from gunicorn_autoconf.cli.main import main
        main()
    """
    path = gunicorn.write("without_rich.py", program)

    done = gunicorn.run(
        *("--json", "--pid", str(shared.pid)), program=(sys.executable, str(path), "top")
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["arbiter"]["pid"] == shared.pid


def test_once(gunicorn: Launcher, shared: Server) -> None:
    done = gunicorn.run("--once", "--pid", str(shared.pid), program=TOP)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"arbiter {shared.pid}, up ")
    assert {int(line.split()[0]) for line in lines[-2:]} == shared.worker_pids()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []


def test_output_that_cannot_hold_blocks(gunicorn: Launcher, shared: Server) -> None:

    done = gunicorn.run("--once", "--pid", str(shared.pid), program=TOP, PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    assert "? server " in done.stdout


@pytest.mark.parametrize("arguments", [(), ("--once",)])
def test_without_rich(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(top_command, "_has_terminal", lambda: True)
    monkeypatch.setattr(top_command, "find_arbiter", lambda *named: psutil.Process())

    result = invoke(*arguments)

    message = "Error: top needs rich: pip install 'gunicorn-autoconf[top]'\n"
    assert (result.output, result.exit_code) == (message, 2)


def test_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_command, "find_arbiter", lambda *named: psutil.Process())

    result = invoke()

    message = "Error: top needs a terminal; --once and --json do without\n"
    assert (result.output, result.exit_code) == (message, 2)


# The screen.


class Terminal:
    """A program in a terminal of its own, and what that terminal shows."""

    def __init__(
        self, command: Sequence[str], environ: dict[str, str], size: tuple[int, int]
    ) -> None:
        columns, rows = size
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, rows)
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.received = b""
        self.mode = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *command],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=environ | {"TERM": "xterm-256color"},
            start_new_session=True,
        )

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    @property
    def mode_now(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    @property
    def lines(self) -> list[str]:
        """What is on the screen now."""
        while select.select([self._ours], [], [], 0)[0]:
            chunk = os.read(self._ours, 65536)
            self.received += chunk
            self._stream.feed(chunk)
        return [line.rstrip() for line in self.screen.display]

    def wait_for(self, condition: Callable[[list[str]], bool], what: str) -> list[str]:
        """Return the lines for which *condition* first holds."""
        seen: list[str] = []

        def holds() -> bool:
            seen[:] = self.lines
            return condition(seen)

        wait_until(holds, f"{what} on the screen")
        return seen

    def wait_for_text(self, text: str) -> list[str]:
        return self.wait_for(lambda lines: any(text in line for line in lines), repr(text))

    def wait(self) -> int:
        """Return the exit status once the program has ended."""
        wait_until(lambda: bool(self.lines) and self.process.poll() is not None, "it ends")
        return self.process.wait()

    def is_restored(self) -> bool:
        """Whether the terminal is as it was before: its mode, its screen, its cursor."""
        assert self.lines
        return (
            self.mode_now == self.mode
            and self.received.rfind(b"\x1b[?1049l") > self.received.rfind(b"\x1b[?1049h") >= 0
            and self.received.rfind(b"\x1b[?25h") > self.received.rfind(b"\x1b[?25l") >= 0
        )

    def close(self) -> None:
        # pytest shows this beside a failure, and only there.
        print("--- the screen", *self.lines, sep="\n")
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


# Makes the terminal the one whose Ctrl-C is heard, then runs the arguments.
IN_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
# Tests that a shell has put into the background ignore Ctrl-C, and so would what they start.
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def terminal(
    gunicorn: Launcher, *command: str, size: tuple[int, int] = (80, 24)
) -> Iterator[Terminal]:
    opened = Terminal(command, gunicorn.environ({}), size)
    try:
        yield opened
    finally:
        opened.close()


def watching(
    gunicorn: Launcher, server: Server, size: tuple[int, int] = (80, 24), interval: str = "0.2"
) -> AbstractContextManager[Terminal]:
    command = (*TOP, "--pid", str(server.pid), "--interval", interval)
    return terminal(gunicorn, *command, size=size)


KEYS = "? keys  m memory  c CPU  b busy  r reverse  q quit"


WORKER = re.compile(r" *\d+ +\d+[sm] +[a-z]+ .*[\d.-]+ [▁-█]+")


def test_screen(gunicorn: Launcher) -> None:
    """Each line is where it belongs: nothing wraps, however long the command."""
    server = plain(gunicorn, "--preload", "--name", "x" * 300, workers=16)
    for size, shown in (((80, 24), 10), ((200, 50), 16)):
        shows_all_that_fit(gunicorn, server, size, shown)


def shows_all_that_fit(
    gunicorn: Launcher, server: Server, size: tuple[int, int], shown: int
) -> None:
    with watching(gunicorn, server, size) as seen:
        # Two samples, so that there is a share of CPU.
        lines = seen.wait_for(
            lambda lines: (
                KEYS in lines[23] + lines[-1] + lines[min(28, len(lines) - 1)]
                and " - % CPU" not in lines[0]
                and all(map(WORKER.fullmatch, lines[11 : 11 + shown]))
            ),
            "the keys and the workers",
        )

        columns, rows = size
        assert len(lines) == rows
        assert re.fullmatch(
            rf"arbiter {server.pid}, up \d+[sm], 16 workers, [\d.]+ % CPU, .*", lines[0]
        )
        assert lines[1] == "{}:{}".format(*server.address)
        assert lines[2] == " ".join(server.arbiter.cmdline())[:columns].rstrip()
        assert lines[3] == lines[7] == lines[9] == ""
        assert re.fullmatch(rf"[█▓░·]{{{columns}}}", lines[4])
        assert re.match(r"█ server [\d.]+ [MG]iB   ▓ others .* headroom [\d.]+ [MG]iB$", lines[5])
        assert re.match(r"limit [\d.]+ [MG]iB  · reserve .* budget [\d.]+ [MG]iB  /", lines[6])
        assert lines[8].startswith("load unknown: it was not started with gunicorn-autoconf")
        assert lines[10].split() == [
            *("PID", "AGE", "STATE", "CPU", "%", "RSS", "MiB", "PSS", "MiB", "USS", "MiB▼"),
            *("GROWTH", "MEMORY"),
        ]
        shown_pids = {int(line.split()[0]) for line in lines[11 : 11 + shown]}
        assert len(shown_pids) == shown
        assert shown_pids <= server.worker_pids()
        if rows == 24:
            assert lines[21:] == ["... and 6 more", "", f"{KEYS}   by memory"]
        else:
            assert lines[27:29] == ["", f"{KEYS}   by memory"]
            assert lines[29:] == [""] * 21
        seen.press(b"q")
        assert seen.wait() == 0
        assert seen.is_restored()


def test_keys(gunicorn: Launcher, shared: Server) -> None:
    lowest, highest = sorted(shared.worker_pids())

    with watching(gunicorn, shared) as seen:
        seen.wait_for_text("   by memory")
        seen.press(b"p")
        lines = seen.wait_for(lambda lines: lines[14].endswith("   by pid"), "by pid")
        assert [int(line.split()[0]) for line in lines[11:13]] == [lowest, highest]
        seen.press(b"r")
        lines = seen.wait_for(lambda lines: lines[14].endswith("   by pid, reversed"), "reversed")
        assert [int(line.split()[0]) for line in lines[11:13]] == [highest, lowest]
        # What arrows and other keys send has letters that are not meant.
        seen.press(b"\x1b[A\x1b[1;5c\x1bOa")
        seen.press(b"r")
        seen.wait_for(lambda lines: lines[14].endswith("   by pid"), "by pid again")
        seen.press(b"a")
        seen.wait_for_text("   by age")
        seen.press(b"?")
        seen.wait_for_text("l  sort by latency, how long a request takes")
        seen.press(b"?")
        lines = seen.wait_for(lambda lines: lines[14].endswith("   by age"), "the table again")
        assert lines[10].split()[1] == "AGE▼"
        seen.press(b"\x03")
        assert seen.wait() == 0
        assert seen.is_restored()


def test_no_key_leaves_the_view_in_the_background(gunicorn: Launcher, shared: Server) -> None:

    with watching(gunicorn, shared) as seen:
        seen.wait_for_text("   by memory")
        # A shell would find the terminal without echo.
        assert seen.mode[6][termios.VSUSP] == b"\x1a"
        assert seen.mode_now[6][termios.VSUSP] != b"\x1a"
        seen.press(b"q")
        assert seen.wait() == 0
        assert seen.is_restored()


def test_another_size_is_drawn(gunicorn: Launcher, shared: Server) -> None:

    # Long before the next look is due.
    with watching(gunicorn, shared, (70, 30), interval="3600") as seen:
        lines = seen.wait_for_text("   by memory")
        assert re.fullmatch("[█▓░·]{70}", lines[4])
        assert "RSS MiB" not in lines[10]
        seen.resize(100, 30)
        seen.screen.resize(30, 100)
        lines = seen.wait_for(lambda lines: "RSS MiB" in lines[10], "100 columns")
        assert re.fullmatch("[█▓░·]{100}", lines[4])
        assert lines[14] == f"{KEYS}   by memory"
        seen.press(b"q")
        assert seen.wait() == 0


def test_the_end_of_the_arbiter_ends_the_view(gunicorn: Launcher) -> None:
    server = ours(gunicorn)

    with watching(gunicorn, server) as seen:
        seen.wait_for_text("   by memory")
        server.stop()
        assert seen.wait() == 0
        assert f"arbiter {server.pid} has ended" in seen.lines
        assert seen.is_restored()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_give_the_terminal_back(
    gunicorn: Launcher, shared: Server, number: signal.Signals, status: int
) -> None:

    with watching(gunicorn, shared) as seen:
        seen.wait_for_text("   by memory")
        seen.process.send_signal(number)
        assert seen.wait() == status
        assert seen.is_restored()


def test_an_error_gives_the_terminal_back(gunicorn: Launcher) -> None:
    program = "from gunicorn_autoconf.cli.top.terminal import watch; watch(lambda: 1 // 0, 1)"

    with terminal(gunicorn, sys.executable, "-c", program) as seen:
        assert seen.wait() == 1
        assert seen.is_restored()
        assert any("ZeroDivisionError" in line for line in seen.lines)
