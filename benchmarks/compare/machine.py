"""Describes the machine and what is installed on it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import time
from pathlib import Path

import psutil
from gunicorn.workers import SUPPORTED_WORKERS

from .ways import NATIVE_ASGI, WAYS, Supply, Way

PACKAGES = ("gunicorn", "uvicorn", "uvicorn-worker", "uvloop", "granian", "django", "fastapi")


def detect_supply() -> Supply:
    """Return what the formulas may count."""
    memory_bytes = psutil.virtual_memory().total
    return Supply(
        host_cores=os.cpu_count() or 1,
        cores=len(os.sched_getaffinity(0)),
        memory_mib=memory_bytes // 2**20,
    )


def has_native_asgi() -> bool:
    """Whether the installed Gunicorn has the worker class ``asgi``."""
    return "asgi" in SUPPORTED_WORKERS


def missing_ways() -> dict[str, str]:
    """Return the ways that cannot run here, each with what is missing."""
    missing = {}
    if not has_native_asgi():
        missing[NATIVE_ASGI] = "this Gunicorn has no worker class asgi"
    if not importlib.util.find_spec("granian"):
        missing["granian"] = "not installed (pip install 'gunicorn-autoconf[bench]')"
    return missing


def runnable(names: list[str]) -> list[Way]:
    """Return the ways of these *names* that can run here."""
    missing = missing_ways()
    return [WAYS[name] for name in names if name in WAYS and name not in missing]


def describe(supply: Supply) -> dict[str, object]:
    """Return the lines at the head of a report."""
    return {
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cores": f"{supply.cores} of {supply.host_cores}, {_processor()}",
        "memory": f"{supply.memory_mib} MiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load average before": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        **{name: version for name in PACKAGES if (version := _version(name))},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
