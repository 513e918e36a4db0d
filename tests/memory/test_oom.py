"""Whom the kernel's OOM killer took, from trees as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cgroup_trees import V1_CONTROL, V2_EVENTS, V2_MOUNT, grow, v1, v2

from gunicorn_autoconf.memory.oom import OomWatch, find_oom_files, read_oom_kills


class TestFiles:
    def test_v2(self, tmp_path: Path) -> None:
        root = v2(
            tmp_path,
            {"app/memory.events": V2_EVENTS.format(kills=2), "app/memory.oom.group": "0\n"},
            at="/app",
        )
        found = find_oom_files(root)
        assert found is not None
        assert found.counter == f"{root}/sys/fs/cgroup/app/memory.events"
        assert found.kills_all is False
        assert read_oom_kills(found.counter) == 2

    def test_v2_in_a_namespace(self, tmp_path: Path) -> None:
        root = v2(tmp_path, {"memory.events": V2_EVENTS.format(kills=0)})
        found = find_oom_files(root)
        assert found is not None
        assert found.counter == f"{root}/sys/fs/cgroup/memory.events"
        assert read_oom_kills(found.counter) == 0

    def test_v1(self, tmp_path: Path) -> None:
        root = v1(tmp_path, {"app/memory.oom_control": V1_CONTROL.format(kills=7)}, at="/app")
        found = find_oom_files(root)
        assert found is not None
        assert found.counter == f"{root}/sys/fs/cgroup/memory/app/memory.oom_control"
        assert found.kills_all is False
        assert read_oom_kills(found.counter) == 7

    def test_v1_of_a_container(self, tmp_path: Path) -> None:
        root = v1(
            tmp_path,
            {"memory.oom_control": V1_CONTROL.format(kills=1)},
            at="/docker/abc",
            mounted="/docker/abc",
        )
        found = find_oom_files(root)
        assert found is not None
        assert found.counter == f"{root}/sys/fs/cgroup/memory/memory.oom_control"

    def test_own_cgroup_comes_before_the_one_above(self, tmp_path: Path) -> None:
        root = v2(
            tmp_path,
            {
                "memory.events": V2_EVENTS.format(kills=9),
                "app/memory.events": V2_EVENTS.format(kills=2),
            },
            at="/app",
        )
        found = find_oom_files(root)
        assert found is not None
        assert read_oom_kills(found.counter) == 2

    @pytest.mark.parametrize(
        "own",
        [
            pytest.param({}, id="no file"),
            pytest.param({"app/memory.events": "low 0\noom 0\n"}, id="kernel before 4.13"),
            pytest.param({"app/memory.events": "oom_kill many\n"}, id="malformed"),
        ],
    )
    def test_the_one_above_where_our_own_does_not_tell(
        self, tmp_path: Path, own: dict[str, str]
    ) -> None:
        files = {"memory.events": V2_EVENTS.format(kills=9), **own}
        found = find_oom_files(v2(tmp_path, files, at="/app"))
        assert found is not None
        assert read_oom_kills(found.counter) == 9

    @pytest.mark.parametrize(
        ("text", "kills_all"), [("1\n", True), ("0\n", False), ("", False), ("max\n", False)]
    )
    def test_whether_one_kill_ends_all(self, tmp_path: Path, text: str, kills_all: bool) -> None:
        files = {"app/memory.events": V2_EVENTS.format(kills=0), "app/memory.oom.group": text}
        found = find_oom_files(v2(tmp_path, files, at="/app"))
        assert found is not None
        assert found.kills_all is kills_all

    @pytest.mark.parametrize("directory", ["pod/app/", "pod/", ""])
    def test_one_kill_ends_all_where_a_level_above_says_so(
        self, tmp_path: Path, directory: str
    ) -> None:
        files = {
            "pod/app/memory.events": V2_EVENTS.format(kills=0),
            "pod/app/memory.oom.group": "0\n",
            f"{directory}memory.oom.group": "1\n",
        }
        found = find_oom_files(v2(tmp_path, files, at="/pod/app"))
        assert found is not None
        assert found.kills_all is True

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
        assert find_oom_files(grow(tmp_path, files)) is None

    def test_counter_that_goes_away(self, tmp_path: Path) -> None:
        counter = tmp_path / "memory.events"
        counter.write_text("oom_kill 1\n", encoding="ascii")
        assert read_oom_kills(str(counter)) == 1
        counter.unlink()
        assert read_oom_kills(str(counter)) is None


class Counter:
    """The kernel's counter."""

    def __init__(self, kills: int | None) -> None:
        self.kills = kills

    def __call__(self) -> int | None:
        return self.kills


class TestClaim:
    """Each kill is laid to one worker that ended."""

    def test_worker_that_ended_by_itself(self) -> None:
        assert OomWatch(Counter(0)).claim() is False

    def test_kills_from_before_are_not_ours(self) -> None:
        assert OomWatch(Counter(5)).claim() is False

    def test_one_kill_is_one_workers(self) -> None:
        counter = Counter(5)
        watch = OomWatch(counter)
        counter.kills = 6
        assert [watch.claim() for _ in range(3)] == [True, False, False]

    def test_two_kills_at_once(self) -> None:
        counter = Counter(0)
        watch = OomWatch(counter)
        counter.kills = 2
        assert [watch.claim() for _ in range(3)] == [True, True, False]

    def test_one_after_the_other(self) -> None:
        counter = Counter(0)
        watch = OomWatch(counter)
        for kills in (1, 2, 3):
            counter.kills = kills
            assert watch.claim() is True
            assert watch.claim() is False

    def test_no_counter(self) -> None:
        watch = OomWatch(Counter(None))
        assert watch.is_told is False
        assert watch.claim() is False
        assert watch.forget_unclaimed(100) == 0

    def test_counter_that_goes_away(self) -> None:
        counter = Counter(3)
        watch = OomWatch(counter)
        counter.kills = None
        assert watch.is_told is True
        assert watch.claim() is False
        assert watch.forget_unclaimed(100) == 0

    def test_counter_that_begins_anew(self) -> None:
        counter = Counter(3)
        watch = OomWatch(counter)
        counter.kills = 0
        assert watch.claim() is False
        assert watch.forget_unclaimed(100) == 0


class TestStrangers:
    """A kill that no worker's end has claimed within 10 s was that of another process."""

    def test_are_told_once(self) -> None:
        counter = Counter(0)
        watch = OomWatch(counter)
        assert watch.forget_unclaimed(100) == 0
        counter.kills = 2
        assert watch.forget_unclaimed(105) == 0
        assert watch.forget_unclaimed(114.9) == 0
        assert watch.forget_unclaimed(115) == 2
        assert watch.forget_unclaimed(200) == 0

    def test_are_no_workers_afterwards(self) -> None:
        counter = Counter(0)
        watch = OomWatch(counter)
        counter.kills = 1
        watch.forget_unclaimed(100)
        watch.forget_unclaimed(110)
        assert watch.claim() is False

    def test_worker_that_ended_in_time_is_none(self) -> None:
        counter = Counter(0)
        watch = OomWatch(counter)
        counter.kills = 1
        assert watch.forget_unclaimed(100) == 0
        assert watch.claim() is True
        assert watch.forget_unclaimed(110) == 0

    def test_one_of_two(self) -> None:
        counter = Counter(0)
        watch = OomWatch(counter)
        counter.kills = 2
        watch.forget_unclaimed(100)
        assert watch.claim() is True
        assert watch.forget_unclaimed(110) == 1

    def test_each_kill_has_its_own_time(self) -> None:
        """The first kill was claimed; the second one was a moment ago."""
        counter = Counter(0)
        watch = OomWatch(counter)
        counter.kills = 1
        watch.forget_unclaimed(100)
        assert watch.claim() is True
        counter.kills = 2
        assert watch.forget_unclaimed(110) == 0
        assert watch.claim() is True
