"""Do metrics hold while workers come and go? ``python -m benchmarks.metrics``.

Starts a server of trivial requests with metrics and health answers, asks it all the time, kills its
workers again and again until `--workers` were replaced, and scrapes between the kills. Reports

- each counter that fell, of which there must be none;
- requests that were answered and are not counted: at most those that a killed worker had just
  answered, of which it could not tell any more;
- how long a scrape took, and a health answer: median, 99 % and longest.

Where ``promtool`` and ``prometheus`` are installed (Debian: ``apt-get install prometheus``) it has
the one check a scrape and the alert rules of ``examples/monitoring``, and the other scrape the same
server meanwhile: none of its counters may have been reset, and none of its scrapes failed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from gunicorn_autoconf.metrics.metric import Kind
from gunicorn_autoconf.metrics.table import METRICS

MONITORING = Path(__file__).parents[1] / "examples" / "monitoring"
APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\\n"]
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def get(port: int, path: str) -> tuple[int, str]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read().decode()


def counters(text: str) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


@contextlib.contextmanager
def serving(
    folder: Path, workers: int, port: int, metrics: int
) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "app.py").write_text(APP)
    command = ["-m", "gunicorn", "-c", "python:gunicorn_autoconf.conf"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, *command, "-b", f"127.0.0.1:{port}", "--no-control-socket", "app:app"],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=os.environ
            | {
                "GUNICORN_WORKERS": str(workers),
                "GUNICORN_METRICS": f"127.0.0.1:{metrics}",
                "GUNICORN_HEALTH": f"127.0.0.1:{metrics}",
            },
        )
    try:
        while not is_ready(metrics):
            time.sleep(0.05)
        yield server
    finally:
        server.terminate()
        server.wait(60)


def is_ready(metrics: int) -> bool:
    try:
        return get(metrics, "/readyz")[0] == 200
    except OSError:
        return False


@contextlib.contextmanager
def scraping(folder: Path, metrics: int) -> Iterator[int | None]:
    """Run a Prometheus that scrapes once a second; yield its port, None where there is none."""
    program = shutil.which("prometheus")
    if program is None:
        yield None
        return
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": "shop", "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML.
    port = free_port()
    prometheus = subprocess.Popen(
        [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    try:
        until = time.monotonic() + 60
        while not is_up(port):
            if prometheus.poll() is not None or time.monotonic() > until:
                raise RuntimeError("Prometheus does not scrape; its log is above")
            time.sleep(0.2)
        yield port
    finally:
        prometheus.terminate()
        prometheus.wait(60)


def is_up(port: int) -> bool:
    """Whether the Prometheus runs and has scraped the server."""
    try:
        return [row["value"][1] for row in query(port, "up")] == ["1"]
    except OSError:
        return False


def query(port: int, expression: str) -> list[Any]:
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]["result"]


class Load(threading.Thread):
    """Asks one request after the other, and counts what was answered."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._stopping = threading.Event()
        self.answered = self.broken = 0

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.answered += get(self._port, "/")[0] == 200
            except (OSError, http.client.HTTPException):
                self.broken += 1

    def end(self) -> None:
        self._stopping.set()
        self.join()


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def replace_workers(server: subprocess.Popen[bytes], metrics: int, wanted: int) -> dict[str, Any]:
    before: dict[str, float] = {}
    fell: list[str] = []
    scrapes: list[float] = []
    probes: list[float] = []
    killed: set[int] = set()
    while len(killed) < wanted:
        for pid in set(children(server.pid)) - killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        began = time.perf_counter()
        text = get(metrics, "/metrics")[1]
        scrapes.append(time.perf_counter() - began)
        began = time.perf_counter()
        get(metrics, "/livez")
        probes.append(time.perf_counter() - began)
        now = counters(text)
        fell += [name for name, value in before.items() if now.get(name, -1.0) < value]
        before = now
        time.sleep(0.05)
    return {"killed": len(killed), "fell": fell, "scrapes": scrapes, "probes": probes}


def times(seconds: list[float]) -> str:
    ordered = sorted(each * 1000 for each in seconds)
    high = ordered[int(len(ordered) * 0.99)]
    return f"{statistics.median(ordered):.2f} / {high:.2f} / {ordered[-1]:.2f} ms"


def cpu_ms(arbiter: int, metrics: int, scrapes: int = 300) -> float:
    """What one scrape costs the arbiter, whatever else the machine does."""
    process = psutil.Process(arbiter)
    before = sum(process.cpu_times()[:2])
    for _ in range(scrapes):
        get(metrics, "/metrics")
    return (sum(process.cpu_times()[:2]) - before) / scrapes * 1000


def check_by_promtool(text: str) -> bool:
    program = shutil.which("promtool")
    if program is None:
        print("promtool is not installed: nothing is checked by it")
        return True
    runs = (
        (["check", "metrics"], text),
        (["check", "config", "prometheus.yaml"], None),
        (["check", "rules", "alerts.yaml"], None),
        (["test", "rules", "alerts-test.yaml"], None),
    )
    is_well = True
    for words, given in runs:
        done = subprocess.run(
            [program, *words],
            input=given,
            cwd=MONITORING,
            capture_output=True,
            text=True,
            check=False,
        )
        said = (done.stdout + done.stderr).strip().splitlines()
        print(f"promtool {' '.join(words)}: {'well' if done.returncode == 0 else said}")
        is_well = is_well and done.returncode == 0
    return is_well


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=1000, help="how many to replace [1000]")
    parser.add_argument("--at-once", type=int, default=4, help="how many there are [4]")
    options = parser.parse_args()
    port, metrics = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(serving(folder, options.at_once, port, metrics))
        prometheus = stack.enter_context(scraping(folder, metrics))
        load = Load(port)
        load.start()
        found = replace_workers(server, metrics, options.workers)
        load.end()
        ends, until = 0.0, time.monotonic() + 20
        while ends < found["killed"] and time.monotonic() < until:
            time.sleep(0.2)
            text = get(metrics, "/metrics")[1]
            now = counters(text)
            ends = sum(value for name, value in now.items() if "worker_exits" in name)
        counted = next(value for name, value in now.items() if "gunicorn_requests_total" in name)
        print(f"killed {found['killed']} workers, {ends:.0f} ends counted")
        print(f"counters that fell: {sorted(set(found['fell'])) or 'none'}")
        print(f"answered {load.answered}, counted {counted:.0f}, connections broken {load.broken}")
        print(
            f"{len(found['scrapes'])} scrapes (median / 99 % / longest):", times(found["scrapes"])
        )
        print(f"/livez: {times(found['probes'])}")
        print(f"CPU time of a scrape: {cpu_ms(server.pid, metrics):.2f} ms in the arbiter")
        is_well = check_by_promtool(text) and not found["fell"]
        if prometheus is not None:
            time.sleep(2)
            names = [name for row in METRICS if row.kind is not Kind.GAUGE for name in row.series]
            resets = [
                float(row["value"][1])
                for name in names
                for row in query(prometheus, f"sum(resets({name}[1h]))")
            ]
            downs = query(prometheus, "sum(count_over_time(up[1h]) - sum_over_time(up[1h]))")
            longest = query(prometheus, "max(max_over_time(scrape_duration_seconds[1h]))")
            failed, slowest = (float(rows[0]["value"][1]) for rows in (downs, longest))
            print(
                f"Prometheus: {sum(resets):.0f} resets of {len(resets)} counters, {failed:.0f} "
                f"failed scrapes, the longest {slowest * 1000:.1f} ms"
            )
            is_well = is_well and not sum(resets) and not failed
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
