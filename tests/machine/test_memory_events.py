"""What the kernel counts of our memory cgroup, from trees as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cgroup_trees import V1_CONTROL, V2_EVENTS, V2_MOUNT, grow, v1, v2

from gunicorn_autoconf.machine.memory_events import Events, MemoryEvents, find_memory_events
from gunicorn_autoconf.machine.pressure import Pressure

MIB = 2**20
LOCAL = "low 0\nhigh 7\nmax 4\noom 1\noom_kill {kills}\noom_group_kill 0\n"


def found(root: str) -> MemoryEvents:
    events = find_memory_events(root)
    assert events is not None
    return events


class TestCounters:
    def test_v2(self, tmp_path: Path) -> None:
        root = v2(tmp_path, {"app/memory.events": V2_EVENTS.format(kills=2)}, at="/app")
        events = found(root)
        assert events.read()[0] == Events(oom_kills=2, ooms=3, limit_hits=40, highs=12)
        assert (events.counter, events.is_shared) == ("/sys/fs/cgroup/app", False)

    def test_v2_of_the_level_itself(self, tmp_path: Path) -> None:
        """memory.events counts the kills in cgroups below as well."""
        files = {
            "app/memory.events": V2_EVENTS.format(kills=9),
            "app/memory.events.local": LOCAL.format(kills=2),
        }
        events = found(v2(tmp_path, files, at="/app"))
        assert events.read()[0] == Events(oom_kills=2, ooms=1, limit_hits=4, highs=7)

    def test_v2_in_a_namespace(self, tmp_path: Path) -> None:
        events = found(v2(tmp_path, {"memory.events": V2_EVENTS.format(kills=0)}))
        assert events.counter == "/sys/fs/cgroup"
        assert events.oom_kills(events.read()) == 0

    def test_v1(self, tmp_path: Path) -> None:
        files = {
            "app/memory.oom_control": V1_CONTROL.format(kills=7),
            "app/memory.failcnt": "12\n",
            "memory.failcnt": "5\n",
        }
        events = found(v1(tmp_path, files, at="/app"))
        assert events.read() == (Events(oom_kills=7, limit_hits=12), Events(limit_hits=5))
        assert events.counter == "/sys/fs/cgroup/memory/app"

    def test_v1_of_a_container(self, tmp_path: Path) -> None:
        files = {"memory.oom_control": V1_CONTROL.format(kills=1)}
        events = found(v1(tmp_path, files, at="/docker/abc", mounted="/docker/abc"))
        assert events.counter == "/sys/fs/cgroup/memory"

    def test_own_cgroup_comes_before_the_one_above(self, tmp_path: Path) -> None:
        files = {
            "memory.events": V2_EVENTS.format(kills=9),
            "app/memory.events": V2_EVENTS.format(kills=2),
        }
        events = found(v2(tmp_path, files, at="/app"))
        assert events.oom_kills(events.read()) == 2

    @pytest.mark.parametrize(
        "own",
        [
            pytest.param({}, id="no file"),
            pytest.param({"app/memory.events": "low 0\noom 0\n"}, id="kernel before 4.13"),
            pytest.param({"app/memory.events": "oom_kill many\n"}, id="malformed"),
        ],
    )
    def test_one_above_counts_for_others_too(self, tmp_path: Path, own: dict[str, str]) -> None:
        files = {"memory.events": V2_EVENTS.format(kills=9), **own}
        events = found(v2(tmp_path, files, at="/app"))
        assert events.oom_kills(events.read()) == 9
        assert (events.counter, events.is_shared) == ("/sys/fs/cgroup", True)

    @pytest.mark.parametrize(
        "files",
        [
            pytest.param({}, id="no proc"),
            pytest.param({"proc/self/cgroup": "0::/\n"}, id="no mountinfo"),
            pytest.param(
                {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT}, id="no counter"
            ),
            pytest.param(
                {"proc/self/cgroup": "what\n", "proc/self/mountinfo": V2_MOUNT}, id="malformed"
            ),
        ],
    )
    def test_none(self, tmp_path: Path, files: dict[str, str]) -> None:
        assert find_memory_events(grow(tmp_path, files)) is None

    def test_counter_that_goes_away(self, tmp_path: Path) -> None:
        events = found(v2(tmp_path, {"memory.events": "oom_kill 1\n"}))
        (tmp_path / "sys/fs/cgroup/memory.events").unlink()
        assert events.oom_kills(events.read()) is None


class TestLimits:
    def test_v2(self, tmp_path: Path) -> None:
        files = {
            "app/memory.events": V2_EVENTS.format(kills=0),
            "app/memory.max": f"{240 * MIB}\n",
            "app/memory.high": f"{200 * MIB}\n",
            "app/memory.current": f"{100 * MIB}\n",
            "app/memory.stat": f"anon 1\nshmem {30 * MIB}\n",
            "memory.max": "max\n",
        }
        events = found(v2(tmp_path, files, at="/app"))
        assert events.limit_bytes(0) == 240 * MIB
        assert events.high_bytes(0) == 200 * MIB
        assert events.usage_bytes(0) == 100 * MIB
        assert events.shared_bytes(0) == 30 * MIB
        assert events.limit_bytes(1) is None

    def test_v1(self, tmp_path: Path) -> None:
        files = {
            "memory.oom_control": V1_CONTROL.format(kills=0),
            "memory.limit_in_bytes": f"{240 * MIB}\n",
            "memory.usage_in_bytes": f"{100 * MIB}\n",
            "memory.stat": f"shmem 1\ntotal_shmem {30 * MIB}\n",
        }
        events = found(v1(tmp_path, files))
        assert events.limit_bytes(0) == 240 * MIB
        assert events.usage_bytes(0) == 100 * MIB
        assert events.shared_bytes(0) == 30 * MIB
        assert events.pressure() is None

    def test_pressure(self, tmp_path: Path) -> None:
        files = {
            "memory.events": V2_EVENTS.format(kills=0),
            "memory.pressure": "some total=1500000\n",
        }
        assert found(v2(tmp_path, files)).pressure() == Pressure(1.5, 0.0)


class TestWhetherOneKillEndsAll:
    """The kernel heeds memory.oom.group up to the level whose limit was hit."""

    EVENTS = {"pod/app/memory.events": V2_EVENTS.format(kills=0)}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("text", "kills_all"), [("1\n", True), ("0\n", False), ("", False), ("max\n", False)]
    )
    def test_own_level(self, tmp_path: Path, text: str, kills_all: bool) -> None:
        files = {**self.EVENTS, "pod/app/memory.max": "1\n", "pod/app/memory.oom.group": text}
        assert found(v2(tmp_path, files, at="/pod/app")).kills_all is kills_all

    @pytest.mark.parametrize("directory", ["pod/app/", "pod/"])
    def test_a_level_up_to_the_highest_limit(self, tmp_path: Path, directory: str) -> None:
        files = {
            **self.EVENTS,
            "pod/app/memory.oom.group": "0\n",
            "pod/memory.max": "1\n",
            f"{directory}memory.oom.group": "1\n",
        }
        assert found(v2(tmp_path, files, at="/pod/app")).kills_all is True

    @pytest.mark.parametrize("limited", [{}, {"pod/app/memory.max": "1\n"}])
    def test_not_a_level_without_a_limit_at_it_or_above(
        self, tmp_path: Path, limited: dict[str, str]
    ) -> None:
        files = {
            **self.EVENTS,
            **limited,
            "pod/memory.max": "max\n",
            "pod/memory.oom.group": "1\n",
        }
        assert found(v2(tmp_path, files, at="/pod/app")).kills_all is False

    def test_never_at_v1(self, tmp_path: Path) -> None:
        files = {
            "memory.oom_control": V1_CONTROL.format(kills=0),
            "memory.limit_in_bytes": "1\n",
        }
        assert found(v1(tmp_path, files)).kills_all is False
