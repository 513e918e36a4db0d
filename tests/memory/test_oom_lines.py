"""What is said of OOM kills, word for word: people search for it."""

from __future__ import annotations

import pytest

from gunicorn_autoconf.fleet.sample import Helper, WorkerSample
from gunicorn_autoconf.memory.kill_loop import Loop
from gunicorn_autoconf.memory.oom_lines import (
    OomKill,
    render_helper_kill,
    render_loop,
    render_oom,
    render_others_kill,
)

MIB = 2**20
GIB = 1024 * MIB
LARGE = WorkerSample(41, 600.0, 61 * MIB, 70 * MIB, 40 * MIB)
YOUNG = WorkerSample(43, 1.0, 12 * MIB, 20 * MIB)
APP = "/sys/fs/cgroup/app"
KILLED = "gunicorn-autoconf: worker 41 was killed by the kernel's OOM killer"


@pytest.mark.parametrize(
    ("last", "kill", "line"),
    [
        (
            LARGE,
            OomKill(3, APP, 512 * MIB),
            (
                f"{KILLED}: limit 512 MiB at /sys/fs/cgroup/app, 3 workers, it used 61 MiB "
                "(40 MiB at boot) when last seen"
            ),
        ),
        (
            YOUNG,
            OomKill(1, "/sys/fs/cgroup", 2 * GIB),
            f"{KILLED}: limit 2 GiB at /sys/fs/cgroup, 1 worker, it used 12 MiB when last seen",
        ),
        (
            None,
            OomKill(2, APP, 400 * MIB, shared_bytes=280 * MIB),
            (
                f"{KILLED}: limit 400 MiB at /sys/fs/cgroup/app, 280 MiB of it in shared memory "
                "(/dev/shm, tmpfs), 2 workers"
            ),
        ),
        (None, OomKill(2, APP), f"{KILLED}: limit at /sys/fs/cgroup/app, 2 workers"),
        (None, OomKill(2, machine_bytes=4 * GIB), f"{KILLED}: the machine has 4 GiB, 2 workers"),
        (None, OomKill(2), f"{KILLED}: no limit visible here was hit, 2 workers"),
        (
            None,
            OomKill(2, APP, 512 * MIB, while_ending=True),
            f"{KILLED} while exiting: limit 512 MiB at /sys/fs/cgroup/app, 2 workers",
        ),
        (
            None,
            OomKill(2, "/sys/fs/cgroup", 512 * MIB, shared_counter="/sys/fs/cgroup"),
            (
                "gunicorn-autoconf: worker 41 was probably killed by the kernel's OOM killer: "
                "limit 512 MiB at "
                "/sys/fs/cgroup, 2 workers, the count of kills at /sys/fs/cgroup is shared with "
                "other processes"
            ),
        ),
    ],
)
def test_worker(last: WorkerSample | None, kill: OomKill, line: str) -> None:
    assert render_oom(41, last, kill) == line


@pytest.mark.parametrize(
    ("worker", "is_certain", "line"),
    [
        (41, True, "killed process 77 (ffmpeg), a child process of worker 41"),
        (41, False, "probably killed process 77 (ffmpeg), a child process of worker 41"),
        (None, True, "killed process 77 (ffmpeg), a child process of the arbiter"),
    ],
)
def test_helper(worker: int | None, is_certain: bool, line: str) -> None:
    helper = Helper(77, "ffmpeg", worker, 210 * MIB)
    assert render_helper_kill(helper, is_certain=is_certain) == (
        f"gunicorn-autoconf: the kernel's OOM killer {line}: it used 210 MiB when last seen"
    )


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (1, "1 process in this cgroup that was not a worker"),
        (2, "2 processes in this cgroup that were not workers"),
    ],
)
def test_processes_of_which_nothing_is_known(count: int, line: str) -> None:
    assert render_others_kill(count) == f"gunicorn-autoconf: the kernel's OOM killer killed {line}"


@pytest.mark.parametrize(
    ("size_bytes", "fits", "line"),
    [
        (175 * MIB, 2, "11 workers OOM-killed in 90 s at 175 MiB each: 2 fit"),
        (175 * MIB, 1, "11 workers OOM-killed in 90 s at 175 MiB each: 1 fits"),
        (175 * MIB, None, "11 workers OOM-killed in 90 s at 175 MiB each"),
        (None, None, "11 workers OOM-killed in 90 s"),
    ],
)
def test_loop(size_bytes: int | None, fits: int | None, line: str) -> None:
    assert render_loop(Loop(11, 100, 190, size_bytes), fits) == f"gunicorn-autoconf: {line}"
