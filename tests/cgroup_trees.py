"""Trees of /proc and /sys with one memory cgroup, v1 or v2, written for a test."""

from __future__ import annotations

from pathlib import Path

V2_EVENTS = "low 0\nhigh 12\nmax 40\noom 3\noom_kill {kills}\noom_group_kill 0\n"
V1_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n"
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1_MOUNT = "31 23 0:27 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def grow(root: Path, files: dict[str, str]) -> str:
    """Write *files* below *root*."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return str(root)


def v2(root: Path, files: dict[str, str], at: str = "/") -> str:
    return grow(
        root,
        {"proc/self/cgroup": f"0::{at}\n", "proc/self/mountinfo": V2_MOUNT}
        | {f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    )


def v1(root: Path, files: dict[str, str], at: str = "/", mounted: str = "/") -> str:
    return grow(
        root,
        {
            "proc/self/cgroup": f"4:memory:{at}\n3:cpu,cpuacct:/elsewhere\n",
            "proc/self/mountinfo": V1_MOUNT.format(root=mounted),
        }
        | {f"sys/fs/cgroup/memory/{name}": text for name, text in files.items()},
    )
