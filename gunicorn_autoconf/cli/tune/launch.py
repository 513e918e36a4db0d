"""
Runs Gunicorn for one candidate, apart from the user's own server: a program of its own.

``python -m gunicorn_autoconf.cli.tune.launch FD FOLDER ARGUMENTS`` is Gunicorn with ARGUMENTS that
listens on the inherited socket FD and nowhere else, whatever its configuration says. FOLDER gets
what it comes to; with a negative FD that is all. It ends when its parent does, and is the first to
be killed for want of memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication

from gunicorn_autoconf.worker_classes import class_name

# The file in FOLDER with the settings that count.
SETTINGS_FILE = "settings.json"
ACCESS_LOG = "access.log"

# Source: Linux, include/uapi/linux/prctl.h.
_PR_SET_PDEATHSIG = 1
# Source: Linux, filesystems/proc.rst, "oom_score_adj": from -1000 to 1000.
_OOM_SCORE = 500


class _Candidate(WSGIApplication):  # type: ignore[misc]
    """Gunicorn, whose configuration cannot reach what belongs to the server that runs already."""

    def __init__(self, fd: int, folder: str) -> None:
        self._fd, self._folder = fd, folder
        super().__init__("%(prog)s [OPTIONS] [APP_MODULE]")

    def load_config(self) -> None:
        super().load_config()
        own: dict[str, Any] = {
            "bind": [f"fd://{self._fd}"],
            "control_socket_disable": True,
            "daemon": False,
            "errorlog": "-",
            "pidfile": None,
            "reload": False,
            "reuse_port": False,
            "statsd_host": None,
            "syslog": False,
        }
        if self.cfg.accesslog not in (None, "-"):
            own["accesslog"] = os.path.join(self._folder, ACCESS_LOG)
        for name, value in own.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)
        self._report()

    def _report(self) -> None:
        settings = self.cfg.settings
        found = {name: settings[name].get() for name in ("workers", "threads")}
        found["worker_class"] = class_name(settings["worker_class"].get())
        with open(os.path.join(self._folder, SETTINGS_FILE), "w", encoding="utf-8") as file:
            json.dump(found, file)
        if self._fd < 0:
            raise SystemExit


def _end_with_parent() -> None:
    """Have the kernel send SIGQUIT, Gunicorn's quick shutdown, when the parent ends. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _be_killed_first() -> None:
    """Have the OOM killer take this server before the one that measures it."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(_OOM_SCORE))


def main() -> None:
    """Serve until the end."""
    fd, folder, *arguments = sys.argv[1:]
    _end_with_parent()
    _be_killed_first()
    sys.argv = ["gunicorn", *arguments]
    _Candidate(int(fd), folder).run()


if __name__ == "__main__":
    main()
