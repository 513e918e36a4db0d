"""How a server is run: ours, the peers' formulas, the points of the sweep. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from .workloads import Interface, Workload

Role = Literal["ours", "peer", "sweep"]

SWEEP_THREADS = (8, 32, 128)


class Supply(NamedTuple):
    """What a formula may count."""

    host_cores: int
    """Of the machine, as ``os.cpu_count()``."""
    cores: int
    """Of our affinity, as ``nproc``."""
    memory_mib: int
    """The memory limit, or the physical memory where there is none."""


class Start(NamedTuple):
    """The words and the variables that start a server."""

    command: list[str]
    environ: dict[str, str]


class Way(NamedTuple):
    """One way to run a server."""

    name: str
    role: Role
    interfaces: tuple[Interface, ...]
    start: Callable[[Workload, Supply, str], Start]
    """From the workload, the supply and the address, ``host:port``."""


BOTH: tuple[Interface, ...] = ("asgi", "wsgi")
PEERS_CLASS = {"asgi": "uvicorn_worker.UvicornWorker", "wsgi": "sync"}


def classic(supply: Supply) -> int:
    """Gunicorn's documentation: ``2 * nproc + 1``, as its own image has it."""
    return 2 * supply.cores + 1


def tiangolo(supply: Supply) -> int:
    """tiangolo/uvicorn-gunicorn-docker: one worker for each of the host's cores, at least 2."""
    return max(supply.host_cores, 2)


def heroku(supply: Supply) -> int:
    """heroku-buildpack-python: ``2 * nproc + 1``, or one for each 256 MB where that is less."""
    return max(1, min(2 * supply.cores + 1, supply.memory_mib // 256))


def s2i(supply: Supply) -> int:
    """Sclorg's s2i-python: ``2 * cores``, one for each 40 MiB beyond 43 MiB, 1 to 12."""
    return max(1, min((supply.memory_mib - 43) // 40, 2 * supply.cores, 12))


def _ours(workload: Workload, address: str, environ: dict[str, str]) -> Start:
    config = ["-c", "python:gunicorn_autoconf.conf", "-b", address]
    return Start([workload.python, "-m", "gunicorn", *config, workload.application], environ)


def _declared(workload: Workload, supply: Supply, address: str) -> Start:
    return _ours(workload, address, {"GUNICORN_WORKLOAD": workload.declared})


def _undeclared(workload: Workload, supply: Supply, address: str) -> Start:
    return _ours(workload, address, {})


def _gunicorn(workload: Workload, address: str, *options: str) -> Start:
    command = [workload.python, "-m", "gunicorn", "-b", address, *options, workload.application]
    return Start(command, {})


def _counted(rule: Callable[[Supply], int]) -> Callable[[Workload, Supply, str], Start]:
    """Gunicorn with the usual class of the interface and as many workers as *rule* says."""

    def start(workload: Workload, supply: Supply, address: str) -> Start:
        words = ["-k", PEERS_CLASS[workload.interface], "-w", str(rule(supply))]
        return _gunicorn(workload, address, *words)

    return start


def _native_asgi(workload: Workload, supply: Supply, address: str) -> Start:
    return _gunicorn(workload, address, "-k", "asgi", "-w", str(supply.cores))


def _uvicorn(workload: Workload, supply: Supply, address: str) -> Start:
    host, _, port = address.rpartition(":")
    # Gunicorn and Granian log no requests unless told so.
    quiet = ["--no-access-log", "--log-level", "warning"]
    command = [workload.python, "-m", "uvicorn", "--host", host, "--port", port, *quiet]
    command += ["--workers", str(supply.cores), workload.application]
    return Start(command, {})


def _granian(workload: Workload, supply: Supply, address: str) -> Start:
    host, _, port = address.rpartition(":")
    command = [workload.python, "-m", "granian", "--host", host, "--port", port]
    command += ["--interface", workload.interface, "--workers", str(supply.cores)]
    return Start([*command, workload.application], {})


DECLARED, UNDECLARED = "autoconf-declared", "autoconf-undeclared"
NATIVE_ASGI = "gunicorn-asgi"

_TABLE = [
    Way(DECLARED, "ours", BOTH, _declared),
    Way(UNDECLARED, "ours", BOTH, _undeclared),
    Way("gunicorn-default", "peer", BOTH, _counted(lambda supply: 1)),
    Way("gunicorn-2n+1", "peer", BOTH, _counted(classic)),
    Way(NATIVE_ASGI, "peer", ("asgi",), _native_asgi),
    Way("tiangolo", "peer", ("asgi",), _counted(tiangolo)),
    Way("heroku", "peer", BOTH, _counted(heroku)),
    Way("s2i", "peer", BOTH, _counted(s2i)),
    Way("uvicorn", "peer", ("asgi",), _uvicorn),
    Way("granian", "peer", BOTH, _granian),
]

WAYS = {way.name: way for way in _TABLE}


def distinct(ways: Iterable[Way], workload: Workload, supply: Supply) -> list[Way]:
    """
    Return *ways* without those that start the very same server as an earlier one.

    That one takes on their names, with commas between them.
    """
    found: dict[tuple[object, ...], list[Way]] = {}
    for way in ways:
        start = way.start(workload, supply, "")
        found.setdefault((*start.command, *start.environ.items()), []).append(way)
    return [same[0]._replace(name=", ".join(way.name for way in same)) for same in found.values()]


def sweep(interface: Interface, supply: Supply, *, native_asgi: bool) -> list[Way]:
    """
    Return Gunicorn in each class, with each count of workers and of threads worth a look.

    *native_asgi* says whether the installed Gunicorn has the class ``asgi``.
    """
    cores = supply.cores
    counts = sorted({1, cores, cores + 1, 2 * cores + 1, 4 * cores})
    if interface == "wsgi":
        points = [_point("sync", workers, 1) for workers in counts]
        return points + [_point("gthread", w, t) for w in counts for t in SWEEP_THREADS]
    points = [_point("uvicorn", workers, 1) for workers in counts]
    return points + [_point("asgi", workers, 1) for workers in counts if native_asgi]


def _point(name: str, workers: int, threads: int) -> Way:
    worker_class = PEERS_CLASS["asgi"] if name == "uvicorn" else name
    # As our plan has them: the sweep is about class and counts.
    options = ["--keep-alive", "65", "--threads", str(threads)]

    def start(workload: Workload, supply: Supply, address: str) -> Start:
        return _gunicorn(workload, address, "-k", worker_class, "-w", str(workers), *options)

    label = f"{name} {workers}" if threads == 1 else f"{name} {workers}x{threads}"
    interface: Interface = "asgi" if name in {"uvicorn", "asgi"} else "wsgi"
    return Way(f"sweep {label}", "sweep", (interface,), start)
