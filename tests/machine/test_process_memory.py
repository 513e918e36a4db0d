"""What one process uses, where all of it is told and where only a part is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from gunicorn_autoconf.machine import process_memory
from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.machine.process_memory import read_process_memory

ROLLUP = """\
55d0c8a00000-7ffd1d5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               53652 kB
Pss:               40960 kB
Pss_Anon:          30000 kB
Shared_Clean:      10240 kB
Shared_Dirty:          0 kB
Private_Clean:      2048 kB
Private_Dirty:     30720 kB
Private_Hugetlb:    4096 kB
Swap:                  0 kB
"""


def is_there(text: str) -> Callable[[str], str]:
    return lambda path: text


def fails(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


@pytest.fixture
def no_rollup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel before 4.14, gVisor, macOS, or another user's process."""
    monkeypatch.setattr(process_memory, "read_text", fails(FileNotFoundError()))


def ask(monkeypatch: pytest.MonkeyPatch, **methods: Any) -> ProcessMemory | None:
    """What is known where psutil's process has *methods*."""
    monkeypatch.setattr(psutil, "Process", lambda pid: SimpleNamespace(**methods))
    return read_process_memory(4711)


class TestRollup:
    def test_of_another_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = []

        def rollup(path: str) -> str:
            paths.append(path)
            return ROLLUP

        monkeypatch.setattr(process_memory, "read_text", rollup)
        memory = read_process_memory(4711)
        assert paths == ["/proc/4711/smaps_rollup"]
        # 53652, 40960 and 2048 + 30720 + 4096 kB.
        assert memory == ProcessMemory(54_939_648, 41_943_040, 37_748_736)

    def test_without_huge_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = ROLLUP.replace("Private_Hugetlb:    4096 kB\n", "")
        monkeypatch.setattr(process_memory, "read_text", is_there(text))
        assert read_process_memory(4711) == ProcessMemory(54_939_648, 41_943_040, 33_554_432)

    def test_without_shares(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process_memory, "read_text", is_there("Rss: 53652 kB\n"))
        assert read_process_memory(4711) == ProcessMemory(54_939_648, None, None)

    @pytest.mark.parametrize("text", ["", "Rss:  0 kB\nPss:  0 kB\n"])
    def test_of_a_process_that_ends(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """It has no pages left: that is no measurement."""
        monkeypatch.setattr(process_memory, "read_text", is_there(text))
        assert read_process_memory(4711) is None

    def test_that_nobody_understands(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process_memory, "read_text", is_there("Rss: lots\n"))
        told = ask(monkeypatch, memory_full_info=lambda: SimpleNamespace(rss=9, pss=7, uss=5))
        assert told == ProcessMemory(9, 7, 5)


@pytest.mark.usefixtures("no_rollup")
class TestWithoutRollup:
    def test_all_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told = ask(monkeypatch, memory_full_info=lambda: SimpleNamespace(rss=9, pss=7, uss=5))
        assert told == ProcessMemory(9, 7, 5)

    def test_no_share(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """MacOS."""
        told = ask(monkeypatch, memory_full_info=lambda: SimpleNamespace(rss=9, uss=5))
        assert told == ProcessMemory(9, None, 5)

    def test_zero_is_no_measurement(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """GVisor has no smaps: psutil answers 0."""
        told = ask(monkeypatch, memory_full_info=lambda: SimpleNamespace(rss=9, pss=0, uss=0))
        assert told == ProcessMemory(9, None, None)

    def test_no_pages_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        full = SimpleNamespace(rss=0, pss=0, uss=0)
        assert ask(monkeypatch, memory_full_info=lambda: full) is None

    @pytest.mark.parametrize(
        "error", [psutil.AccessDenied(4711), PermissionError(), NotImplementedError()]
    )
    def test_only_the_resident_set(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        told = ask(
            monkeypatch,
            memory_full_info=fails(error),
            memory_info=lambda: SimpleNamespace(rss=9),
        )
        assert told == ProcessMemory(9, None, None)

    @pytest.mark.parametrize("error", [psutil.NoSuchProcess(4711), psutil.ZombieProcess(4711)])
    def test_process_that_ends(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        assert ask(monkeypatch, memory_full_info=fails(error)) is None

    @pytest.mark.parametrize("error", [psutil.AccessDenied(4711), OSError()])
    def test_nothing_is_told(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        told = ask(monkeypatch, memory_full_info=fails(error), memory_info=fails(error))
        assert told is None

    def test_our_own(self) -> None:
        memory = read_process_memory()
        assert memory is not None
        assert memory.rss_bytes > 4 * 2**20


def test_process_that_is_gone() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert read_process_memory(ended.pid) is None


def test_our_own_as_psutil_sees_it() -> None:
    memory = read_process_memory(os.getpid())
    seen = psutil.Process().memory_info()
    assert memory is not None
    assert 0.8 * seen.rss <= memory.rss_bytes <= 1.2 * seen.rss
    if memory.pss_bytes is not None and memory.uss_bytes is not None:
        assert memory.uss_bytes <= memory.pss_bytes <= memory.rss_bytes


def test_memory_that_is_taken_shows() -> None:
    before = read_process_memory()
    taken = bytearray(b"x") * (64 * 2**20)
    after = read_process_memory()
    assert before is not None
    assert after is not None
    assert len(taken) == 67_108_864
    assert after.rss_bytes - before.rss_bytes > 48 * 2**20
