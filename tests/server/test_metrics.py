"""Metrics and health answers of the real server: what is counted, and when nothing is answered."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import GUNICORN_SCRIPT, MODULE_DOOR, Launcher, Response, Server, get, wait_until
from patience import stretched
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.server

APP = """
    import os, time

    def app(environ, start_response):
        while environ["PATH_INFO"] == "/held" and not os.path.exists("release"):
            time.sleep(0.01)
        if environ["PATH_INFO"] == "/crash":
            os.abort()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""

BOOTING = """
    import os, time

    while not os.path.exists("release"):
        time.sleep(0.01)
"""

CONF = """
    from pathlib import Path
    from gunicorn_autoconf import autoconf
    globals().update(autoconf(metrics=Path("address").read_text()).settings)
"""


def published(server: Server, path: str, *, since: int = 0) -> tuple[str, int]:
    """Where *server* serves *path*."""
    found = server.wait_for(rf"gunicorn-autoconf: .*{path}.* at http://([\d.]+):(\d+)", since=since)
    return found[1], int(found[2])


def scrape(address: tuple[str, int] | str) -> dict[str, float]:
    """Return each value by its name and labels."""
    status, body = get(address, "/metrics")
    assert status == 200, body
    return read(body)


def read(text: str) -> dict[str, float]:
    parse: Any = text_string_to_metric_families
    return {
        " ".join([sample.name.removeprefix("gunicorn_"), *sorted(sample.labels.values())]): (
            sample.value
        )
        for family in parse(text)
        for sample in family.samples
    }


@pytest.mark.each_gunicorn
def test_a_life(gunicorn: Launcher) -> None:
    """From the boot to the drain: states, slots, requests, exits, and no worker that listens."""
    gunicorn.write("app.py", APP)
    server = gunicorn.start(
        *[*MODULE_DOOR, "app:app"],
        GUNICORN_WORKERS="2",
        GUNICORN_WORKER_CLASS="gthread",
        GUNICORN_THREADS="4",
        GUNICORN_METRICS="127.0.0.1:0",
        GUNICORN_HEALTH="127.0.0.1:0",
        GUNICORN_MEMORY="1GiB",
        GUNICORN_MEMORY_LOG_INTERVAL="0",
        GUNICORN_MEMORY_GUARD="off",
    )
    address = published(server, "/metrics")
    assert published(server, "/readyz") == address  # They share it.
    pids = server.wait_for_workers(2)

    assert get(address, "/livez") == Response(200, "ok\n")
    assert get(address, "/readyz") == Response(200, "ok\n")
    for pid in pids:
        ports = {row.laddr.port for row in psutil.Process(pid).net_connections("tcp")}
        assert address[1] not in ports
    serve_requests(server, address, gunicorn.folder)
    replace_workers(server, address)
    drain(server, address, gunicorn.folder)
    assert [line for line in server.mistakes() if "SIGABRT" not in line] == []


def serve_requests(server: Server, address: tuple[str, int], folder: Path) -> None:
    """Five that are quick, then three that take their time."""
    for _ in range(5):
        server.get()
    with ExitStack() as connections:
        held = [connections.enter_context(server.ask("/held")) for _ in range(3)]
        wait_until(lambda: scrape(address)["busy_slots"] == 3, "three slots are busy")
        before = scrape(address)
        assert before["slots"] == 8
        assert before["requests_in_flight"] == 3
        assert (before["workers ready"], before["workers_target"]) == (2, 2)
        longer = before["request_seconds_total"] + 0.3
        wait_until(lambda: scrape(address)["request_seconds_total"] > longer, "their time counts")
        (folder / "release").touch()
        assert {answer().status for answer in held} == {200}
    wait_until(lambda: scrape(address)["requests_total"] == 8, "eight are over")
    count = "request_duration_seconds_count"
    wait_until(lambda: scrape(address)[count] == 8, "it is known how long they took")
    assert scrape(address)["request_duration_seconds_bucket 0.05"] <= 5


def replace_workers(server: Server, address: tuple[str, int]) -> None:
    """One crashes in the middle of a request, one is told to exit; their numbers go on."""
    wait_until(lambda: "worker_memory_bytes 1 uss" in scrape(address), "memory was looked at")
    before = scrape(address)
    assert before["worker_memory_bytes 0 uss"] > 2_000_000
    assert before["memory_limit_bytes"] == 1_073_741_824

    with pytest.raises(ConnectionError):
        server.get("/crash")
    wait_until(lambda: scrape(address)["worker_exits_total crashed"] == 1, "the crash is counted")
    pids = server.wait_for_workers(2)
    os.kill(min(pids), signal.SIGTERM)
    server.wait_for_workers(2, replacing={min(pids)})
    wait_until(lambda: scrape(address)["worker_exits_total exited"] == 1, "the end is counted")
    after = scrape(address)
    fell = [name for name in before if "_total" in name and after[name] < before[name]]
    assert fell == []
    assert {name for name in after if name.startswith("worker_memory")} <= before.keys()
    assert any(name.startswith("info ") and " gthread" in name for name in after)


def drain(server: Server, address: tuple[str, int], folder: Path) -> None:
    """SIGTERM: not ready from then on, while a request is still being answered."""
    (folder / "release").unlink()
    with server.ask("/held") as answer:
        wait_until(lambda: scrape(address)["busy_slots"] == 1, "it is being served")
        server.signal(signal.SIGTERM)
        wait_until(lambda: get(address, "/readyz").status == 503, "it is not ready any more")
        assert get(address, "/readyz").body == "stopping\n"
        assert get(address, "/livez") == Response(200, "stopping\n")
        assert scrape(address)["workers draining"] == 2
        (folder / "release").touch()
        assert answer().status == 200
    assert server.wait() == 0


def test_not_ready_until_a_worker_is(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", BOOTING + APP)
    server = gunicorn.start(
        *[*MODULE_DOOR, "app:app"], GUNICORN_WORKERS="1", GUNICORN_HEALTH="127.0.0.1:0"
    )
    address = published(server, "/readyz")

    wait_until(lambda: "1 booting" in get(address, "/readyz").body, "one worker boots")
    assert get(address, "/readyz").status == 503
    assert get(address, "/livez").status == 200
    assert get(address, "/metrics").status == 404
    (gunicorn.folder / "release").touch()
    wait_until(lambda: get(address, "/readyz").status == 200, "it is ready")


def test_reload_changes_the_address(gunicorn: Launcher) -> None:
    """From one port to another, to a Unix socket and a file, and to nowhere."""
    gunicorn.write("app.py", APP)
    gunicorn.write("gunicorn.conf.py", CONF)
    where = gunicorn.write("address", "127.0.0.1:0")
    unix, text = gunicorn.folder / "metrics.sock", gunicorn.folder / "shop.prom"
    server = gunicorn.start("app:app", GUNICORN_WORKERS="1")
    first = published(server, "/metrics")

    def reload(address: str) -> int:
        where.write_text(address)
        pids, since = server.wait_for_workers(1), server.mark()
        server.signal(signal.SIGHUP)
        server.wait_for_workers(1, replacing=pids)
        return since

    since = reload("127.0.0.2:0")
    assert scrape(published(server, "/metrics", since=since))["workers ready"] == 1
    with pytest.raises(ConnectionRefusedError):
        get(first)

    reload(f"unix:{unix}")
    wait_until(unix.is_socket, "the socket is there")
    assert scrape(str(unix))["worker_exits_total exited"] >= 1

    reload(f"file:{text}")
    wait_until(text.exists, "the file is there")
    assert not unix.exists()
    assert read(text.read_text())["workers_target"] == 1
    assert text.stat().st_mode & 0o777 == 0o644

    # What is wrong is logged, and what is served stays.
    where.write_text("nowhere")
    server.signal(signal.SIGHUP)
    server.wait_for("keeps the running plan: metrics='nowhere': use HOST:PORT")
    server.wait_for_workers(1)
    assert text.exists()
    server.stop()
    assert sorted(path.name for path in gunicorn.folder.glob("*.prom*")) == []


@pytest.mark.each_gunicorn
def test_upgrade_hands_the_address_over(gunicorn: Launcher) -> None:
    """SIGUSR2: the new arbiter takes it as soon as the old one leaves."""
    gunicorn.write("app.py", APP)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = "127.0.0.1", port
    server = gunicorn.start(
        *[*MODULE_DOOR, "--pid", "pid", "app:app"],
        program=GUNICORN_SCRIPT,
        GUNICORN_WORKERS="1",
        GUNICORN_METRICS=f"127.0.0.1:{port}",
    )
    old = server.wait_for_workers(1)
    server.get()
    wait_until(lambda: scrape(address)["requests_total"] == 1, "the old one counts")
    since = server.mark()
    server.signal(signal.SIGUSR2)
    server.wait_for("Booting worker", since=since)
    pid_file = Path(gunicorn.folder, "pid.2")
    wait_until(pid_file.exists, "the new arbiter runs")
    new = int(pid_file.read_text())
    assert scrape(address)["requests_total"] == 1

    os.kill(server.pid, signal.SIGTERM)
    server.adopt(new)
    server.wait_for(rf"\[{new}\] \[INFO\] gunicorn-autoconf: serving /metrics at http", since=since)
    assert scrape(address)["requests_total"] == 0
    assert not old & server.worker_pids()
    assert server.lines("WARNING") == []


def test_nothing_listens_where_a_configuration_is_only_checked(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", APP)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = gunicorn.run(
            "--check-config", *MODULE_DOOR, "app:app", GUNICORN_METRICS=f"127.0.0.1:{port}"
        )
    assert (result.returncode, result.stderr) == (0, "")


def test_extra_that_is_missing_is_one_line(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", APP)
    hide = "import sys; sys.modules['prometheus_client'] = None; "
    run = "from gunicorn.app.wsgiapp import run; run()"
    result = gunicorn.run(
        *["--check-config", *MODULE_DOOR, "app:app"],
        program=[sys.executable, "-c", hide + run],
        GUNICORN_METRICS="9100",
    )

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: GUNICORN_METRICS='127.0.0.1:9100': it needs prometheus_client: "
        "pip install 'gunicorn-autoconf[metrics]'"
    )


def test_statsd_does_not_depend_on_the_log(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", APP)
    gunicorn.write(
        "gunicorn.conf.py",
        """
        from gunicorn_autoconf.conf import *
        from gunicorn_autoconf.server import endpoints as _endpoints

        _endpoints.STATSD_SECONDS = 0.1
        """,
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(stretched())
        server = gunicorn.start(
            *["--statsd-host", f"127.0.0.1:{statsd.getsockname()[1]}", "app:app"],
            GUNICORN_WORKERS="2",
            GUNICORN_MEMORY_LOG_INTERVAL="0",
            GUNICORN_MEMORY_GUARD="off",
        )
        server.wait_for_workers(2)
        server.get()
        seen: dict[str, float] = {}
        while seen.get("workers.ready") != 2 or not {"requests", "budget"} <= seen.keys():
            text = statsd.recv(1000).decode()
            if found := re.fullmatch(r"gunicorn\.autoconf\.([\w.]+):([\d.]+)\|(g|c\|@1.0)", text):
                seen[found[1]] = float(found[2])
    assert (seen["workers"], seen["slots"], seen["requests"]) == (2, 2, 1)
    assert 3_000_000 < seen["worker.uss"] < seen["pss"] < 200_000_000
    assert seen["headroom"] > 0
    assert seen["budget"] > 0


def test_scrape_does_not_wait_until_the_supervisor_can_be_paused(gunicorn: Launcher) -> None:
    """Two hundred workers take long to look at, and a fork waits for that: a second, no longer."""
    gunicorn.write("app.py", APP)
    gunicorn.write(
        "gunicorn.conf.py",
        """
        import time
        from pathlib import Path
        from gunicorn_autoconf.conf import *
        from gunicorn_autoconf.server.state import ServerState

        def step(self, stopping, server, replaced):
            if stopping.is_set() or not Path("slow").exists():
                return 0.05
            Path("slow").unlink()
            stopping.wait()
            Path("fork").touch()
            time.sleep(0.8)
            Path("over").touch()
            return 60.0

        ServerState._supervise = step
        """,
    )
    server = gunicorn.start(
        *["-c", "gunicorn.conf.py", "-w", "1", "app:app"],
        GUNICORN_METRICS="127.0.0.1:0",
        GUNICORN_MEMORY_GUARD="observe",
    )
    address = published(server, "/metrics")
    folder = gunicorn.folder
    (folder / "slow").touch()
    wait_until(lambda: not (folder / "slow").exists(), "a step of the supervisor")
    os.kill(server.pid, signal.SIGTTIN)
    wait_until((folder / "fork").exists, "a fork")

    assert scrape(address)["workers_target"] == 2
    assert not (folder / "over").exists()
