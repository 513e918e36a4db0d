"""How a worker ended: by itself, by Gunicorn, or by the kernel's OOM killer. Logs."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.memory.actions import Kind
from gunicorn_autoconf.memory.lines import Exit, render_exit
from gunicorn_autoconf.memory.oom_lines import OomKill, render_oom
from gunicorn_autoconf.metrics.endings import Ending
from gunicorn_autoconf.server.fork_signals import ENDING
from gunicorn_autoconf.watchdog.watch import was_ended_for_request

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

    from gunicorn_autoconf.fleet.records import Ended
    from gunicorn_autoconf.fleet.sample import WorkerSample
    from gunicorn_autoconf.machine.facts import MemorySupply
    from gunicorn_autoconf.server.end_queue import End, WaitStatus
    from gunicorn_autoconf.server.oom_watch import ServerOom
    from gunicorn_autoconf.server.supervisor import Supervisor

# The level and the event of each line.
_RECORDS = {
    Exit.EXITED: ("info", "worker_exited"),
    Exit.RETIRED: ("info", "worker_exited"),
    Exit.TIMEOUT: ("warning", "worker_timeout"),
    Exit.LONG_REQUEST: ("warning", "worker_timeout"),
    Exit.LOST: ("warning", "worker_lost"),
    Exit.KILLED: ("warning", "worker_lost"),
}


def log_end(  # noqa: PLR0913 - all that is known of an end
    server: Arbiter,
    end: End,
    ended: Ended,
    *,
    oom: ServerOom | None,
    supervisor: Supervisor | None,
    memory: MemorySupply,
) -> Ending:
    """Log why a worker is gone and what it used last, and return why; for child_exit."""
    worker, status = end.worker, end.status
    retired = supervisor.executor.worker_ended(worker.pid) if supervisor else None
    # Without the status, a worker that has reported its end is taken to have come to it.
    was_killed = ended.is_orderly is not True
    if status is not None:
        was_killed = status.signal == signal.SIGKILL
    found, now = None, time.monotonic()
    if oom:
        oom.ended(now)
        found = oom.claim(memory, tuple(server.WORKERS), now) if was_killed else None
    if isinstance(found, OomKill):
        # Of many kills in a row the supervisor logs one line.
        is_alone = supervisor is None or supervisor.worker_oom_killed(ended.last, found.freed_bytes)
        kill = found._replace(while_ending=ended.is_orderly is True)
        _log_oom_kill(server, worker.pid, ended.last, kill, "error" if is_alone else "debug")
        return Ending.OOM
    if worker.aborted:
        how = Exit.LONG_REQUEST if was_ended_for_request(worker) else Exit.TIMEOUT
    elif end.reports_end and ended.is_orderly is False:
        how = Exit.LOST
    elif retired:
        how = Exit.RETIRED
    elif status and status.signal == signal.SIGKILL and ended.is_orderly is True:
        how = Exit.KILLED
    else:
        how = Exit.EXITED
    level, event = _RECORDS[how]
    log_event(
        server.log,
        level,
        event,
        render_exit(worker.pid, ended.last, how, counts_oom=oom is not None, doubt=found),
        worker=worker.pid,
        retired=retired is not None,
        signal=status.signal if status else None,
        **_sizes(ended.last),
    )
    return _ending(how, retired, status)


def log_killed(server: Arbiter) -> None:
    """
    Log which workers Gunicorn has killed at the end of the server; to be called in on_exit.

    It sends SIGKILL to those that are left, and does not wait for their end: no child_exit follows.
    """
    pids = sorted(server.WORKERS)
    seconds = server.cfg.graceful_timeout
    several = len(pids) > 1
    log_event(
        server.log,
        "warning",
        "workers_killed",
        f"gunicorn-autoconf: worker{'s' * several} {', '.join(map(str, pids))} had not ended when "
        f"the server did (graceful_timeout {seconds:g} s): Gunicorn sent SIGKILL",
        workers=pids,
        graceful_timeout_seconds=seconds,
    )


def _ending(how: Exit, retired: Kind | None, status: WaitStatus | None) -> Ending:
    """Return what an end counts as that no OOM killer has caused."""
    if how in {Exit.TIMEOUT, Exit.LONG_REQUEST}:
        return Ending.TIMEOUT
    if retired:
        return Ending.RECYCLED if retired is Kind.RECYCLE else Ending.SHRUNK
    was_told = status is None or status.signal in (0, *ENDING)
    if how is Exit.LOST or not was_told or (status and status.exit_status):
        return Ending.CRASHED
    return Ending.EXITED


def _log_oom_kill(
    server: Arbiter, pid: int, last: WorkerSample | None, kill: OomKill, level: str
) -> None:
    log_event(
        server.log,
        level,
        "worker_oom_killed",
        render_oom(pid, last, kill),
        worker=pid,
        limit_bytes=kill.limit_bytes,
        limit_directory=kill.directory,
        shared_memory_bytes=kill.shared_bytes,
        workers=kill.workers,
        is_certain=kill.shared_counter is None,
        while_ending=kill.while_ending,
        **_sizes(last),
    )


def _sizes(last: WorkerSample | None) -> dict[str, float | None]:
    """What was seen last of a worker, as fields of a record."""
    if last is None:
        return {}
    return {
        "age_seconds": round(last.age_seconds, 1),
        "uss_bytes": last.uss_bytes,
        "pss_bytes": last.pss_bytes,
        "boot_uss_bytes": last.boot_uss_bytes,
    }
