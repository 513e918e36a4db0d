"""
Writes docs/top.svg: `top` as it watches a real server with four workers, one of which leaks.

Run it from a checkout, with the extras `docs` and `top`: python docs/record_top.py
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import psutil
from pictures import picture

from gunicorn_autoconf.cli.top.order import Order
from gunicorn_autoconf.cli.top.sample import sample_server
from gunicorn_autoconf.cli.top.screen import draw_screen
from gunicorn_autoconf.cli.top.view import follow

PICTURE = Path(__file__).with_name("top.svg")
LOOKS = 24
INTERVAL_SECONDS = 1.0
CLIENTS = 6
COLUMNS = 104

# Worker 2 keeps 1 MiB of each request.
APPLICATION = """
import os, time

modules = bytearray(b"x") * (40 * 1024 * 1024)  # What a usual application imports.
kept = []


def mark(server, worker):
    os.environ["KEEPS_BYTES"] = str(1024 * 1024 if worker.age == 2 else 0)


def app(environ, start_response):
    until = time.thread_time() + 0.003
    while time.thread_time() < until:
        sum(range(1000))
    kept.append(bytearray(int(os.environ["KEEPS_BYTES"])))
    time.sleep(0.2)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\\n"]
"""


def ask(port: int, enough: Event) -> None:
    """Ask for one page after the other until it is *enough*."""
    while not enough.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.2)  # The server does not listen yet.
        finally:
            connection.close()


def record() -> str:
    """Return a picture of `top` after it has watched the server under load."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    declared = {
        "GUNICORN_MEMORY": "512MiB",
        "GUNICORN_WORKERS": "4",
        "GUNICORN_CPUS": "2",
        "GUNICORN_POST_FORK": "shop.mark",
        "GUNICORN_BIND": f"127.0.0.1:{port}",
    }
    gunicorn = Path(sys.executable).with_name("gunicorn")
    command = [str(gunicorn), "-c", "python:gunicorn_autoconf.conf", "shop:app"]
    enough = Event()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(CLIENTS) as clients:
        Path(folder, "shop.py").write_text(APPLICATION, encoding="utf-8")
        server = subprocess.Popen(command, cwd=folder, env=os.environ | declared)  # noqa: S603
        try:
            for _ in range(CLIENTS):
                clients.submit(ask, port, enough)
            time.sleep(5)
            view = None
            for _ in range(LOOKS):
                sample = sample_server(psutil.Process(server.pid))
                if sample is None:
                    raise SystemExit("the server has ended")
                # A folder of this machine is nothing for a picture.
                name = "gunicorn -c python:gunicorn_autoconf.conf shop:app"
                view = follow(view, sample._replace(command=name))
                time.sleep(INTERVAL_SECONDS)
        finally:
            enough.set()
            server.terminate()
            server.wait()
    if view is None:
        raise SystemExit("there was nothing to look at")
    return picture(draw_screen(view, Order(), COLUMNS, 17), "top", COLUMNS)


if __name__ == "__main__":
    PICTURE.write_text(record(), encoding="utf-8")
