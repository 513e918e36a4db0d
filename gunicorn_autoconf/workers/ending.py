"""The end of a worker whose threads may go on: Python would wait for them without a limit."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.server.leftovers import (
    describe_thread,
    end_children,
    end_children_at_exit,
    lasting_threads,
)

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

# What is given to cancelled tasks, and to threads after their requests: time to end, not to work.
END_SECONDS = 1.0


def limit_the_end(worker: Any, status: int = 0) -> None:
    """
    Have *worker* end soon after Gunicorn's last hook, with exit *status*: its requests are over.

    Threads that still run by then are not waited for, and named in the log.
    """
    hook = worker.cfg.worker_exit

    def worker_exit(server: Arbiter, worker: Any) -> None:
        try:
            hook(server, worker)
        finally:
            end_children_at_exit(worker)
            threading.Thread(target=_end, args=(worker, status), daemon=True).start()

    worker.cfg.set("worker_exit", worker_exit)


def _end(worker: Any, status: int) -> None:
    """End the process where a thread goes on."""
    time.sleep(END_SECONDS)
    end_children(worker)  # A pool's thread goes on as long as its processes do.
    if threads := lasting_threads():
        names = [describe_thread(thread) for thread in threads]
        worker.log.warning("Worker (pid:%s) does not wait for its threads: %s", worker.pid, names)
        end_children(worker)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(status)
