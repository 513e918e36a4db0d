"""Machines, declarations and plans for the tests, in as few words as a test can say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import (
    CpuQuota,
    CpuSupply,
    Machine,
    MemoryLimit,
    MemorySupply,
    Origin,
    PidsLimit,
    Platform,
)
from gunicorn_autoconf.plan.declaration import Declaration, read_declaration
from gunicorn_autoconf.plan.plan import Plan
from gunicorn_autoconf.plan.steps import plan
from gunicorn_autoconf.server.command_line import read_command_line
from gunicorn_autoconf.server.gunicorn import setting_flags, setting_parsers
from gunicorn_autoconf.worker_classes import Interface

MIB = 1024 * 1024
GIB = 1024 * MIB

WSGI = Finding(interface=Interface.WSGI, evidence="app.wsgi calls get_wsgi_application()")
ASGI = Finding(
    interface=Interface.ASGI,
    evidence="app.asgi calls get_asgi_application()",
    makes_own_threads=True,
)
FASTAPI = Finding(interface=Interface.ASGI, evidence="FastAPI() at app.py:3")

POD = "/sys/fs/cgroup/kubepods/pod1"
LEAF = f"{POD}/app"

_PARSERS, _FLAGS = setting_parsers(), setting_flags()


def limit(limit_bytes: int, in_use: int | None = 0, *, at: str = LEAF) -> MemoryLimit:
    """A cgroup's memory limit, found in the directory *at*."""
    origin = Origin(path=f"{at}/memory.max", text=str(limit_bytes))
    return MemoryLimit(limit_bytes=limit_bytes, working_set_bytes=in_use, origin=origin)


def memory(
    physical: int | None = 16 * GIB, *limits: MemoryLimit, in_use: int = 0, own: int = 0
) -> MemorySupply:
    """The memory of a machine with *physical* bytes, of which *in_use* are used."""
    level = None
    if physical is not None:
        origin = Origin(path="/proc/meminfo", text=f"MemTotal: {physical // 1024} kB")
        level = MemoryLimit(limit_bytes=physical, working_set_bytes=in_use, origin=origin)
    return MemorySupply(physical=level, limits=limits, own_bytes=own)


def machine(
    cores: int = 4,
    *,
    online: int | None = None,
    quota: float | None = None,
    supply: MemorySupply | None = None,
    container: bool = False,
    platform: Platform | None = None,
    grace_seconds: int | None = None,
    pids: int | None = None,
    worker_tmp_dir: str | None = None,
) -> Machine:
    """A machine with *cores* of its *online* cores (all of them where None) and 16 GiB."""
    granted = None
    if quota is not None:
        origin = Origin(path=f"{LEAF}/cpu.max", text=f"{quota * 100000:.0f} 100000")
        granted = CpuQuota(cores=quota, origin=origin)
    return Machine(
        cpu=CpuSupply(
            affinity=cores,
            affinity_origin=Origin(path="os.sched_getaffinity", text=str(cores)),
            online=cores if online is None else online,
            quota=granted,
        ),
        memory=memory() if supply is None else supply,
        container=Origin(path="/.dockerenv", text="") if container else None,
        platform=platform,
        grace_seconds=grace_seconds,
        pids=PidsLimit(limit=pids, origin=Origin(path=f"{LEAF}/pids.max", text=str(pids)))
        if pids is not None
        else None,
        worker_tmp_dir=worker_tmp_dir,
    )


def declare(environ: Mapping[str, str], argv: Sequence[str] = ()) -> Declaration:
    """What *environ* and Gunicorn's own command line declare, read as `autoconf` reads them."""
    return read_declaration(
        environ,
        setting_parsers=_PARSERS,
        setting_flags=_FLAGS,
        command_line=read_command_line(argv, environ).settings,
    )


def plan_for(
    environ: Mapping[str, str],
    app: Finding | None = WSGI,
    *,
    on: Machine | None = None,
    argv: Sequence[str] = (),
    measured: int | None = None,
) -> Plan:
    """The plan for *environ* and *app*, on a machine with four cores and 16 GiB or another."""
    return plan(
        machine() if on is None else on,
        declare(environ, argv),
        application=app,
        worker_memory_bytes=measured,
    )
