"""Our own cgroup is found by our pid where neither its path nor a mount leads to it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from gunicorn_autoconf.machine import own_cgroup
from gunicorn_autoconf.machine.cgroup_tree import Hierarchy
from gunicorn_autoconf.machine.own_cgroup import find_own
from gunicorn_autoconf.machine.tree import Tree

GUESS = Hierarchy(2, ("/cg",), certain=False)
OTHER = Hierarchy(1, ("/cg/memory",), certain=False)


def make(root: Path, directory: str, procs: str) -> None:
    folder = root / directory.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.procs").write_text(procs)


def test_the_directory_that_lists_our_pid_and_all_above(tmp_path: Path) -> None:
    make(tmp_path, "/cg", "1\n")
    make(tmp_path, "/cg/a", "70\n")
    make(tmp_path, "/cg/b", "")
    make(tmp_path, "/cg/b/c", "5\n7\n")

    found = find_own(Tree(str(tmp_path)), (GUESS, OTHER), 7)

    assert found == (Hierarchy(2, ("/cg/b/c", "/cg/b", "/cg"), certain=True), OTHER)


def test_a_guess_stays_one_where_no_directory_lists_our_pid(tmp_path: Path) -> None:
    make(tmp_path, "/cg", "1\n")
    make(tmp_path, "/cg/a", "0\n0\n")  # Processes of other pid namespaces.
    assert find_own(Tree(str(tmp_path)), (GUESS,), 7) == (GUESS,)


def test_what_is_certain_is_not_looked_for(tmp_path: Path) -> None:
    make(tmp_path, "/cg", "")
    make(tmp_path, "/cg/a", "7\n")
    certain = GUESS._replace(certain=True)
    assert find_own(Tree(str(tmp_path)), (certain,), 7) == (certain,)


def test_no_cgroup_file_system_is_searched(tmp_path: Path) -> None:
    make(tmp_path, "/cg/a", "7\n")
    assert find_own(Tree(str(tmp_path)), (GUESS,), 7) == (GUESS,)


@pytest.mark.parametrize("procs", ["", "\x00", "1 2 x\n"])
def test_a_list_that_tells_nothing_does_not_end_the_search(tmp_path: Path, procs: str) -> None:
    make(tmp_path, "/cg", "1\n")
    make(tmp_path, "/cg/a", procs)
    (tmp_path / "cg/b").mkdir()
    os.mkfifo(tmp_path / "cg/b/cgroup.procs")
    make(tmp_path, "/cg/c", "7\n")
    assert find_own(Tree(str(tmp_path)), (GUESS,), 7)[0].directories == ("/cg/c", "/cg")


def test_the_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_cgroup, "MAX_DIRECTORIES", 3)
    make(tmp_path, "/cg", "1\n")
    for name in ("a", "b", "c"):
        make(tmp_path, f"/cg/{name}", "7\n" if name == "c" else "")
    assert find_own(Tree(str(tmp_path)), (GUESS,), 7) == (GUESS,)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "/cg", "1\n")
    make(tmp_path, "/cg/a", "")
    (tmp_path / "cg/a/again").symlink_to(tmp_path / "cg")
    start = time.monotonic()
    assert find_own(Tree(str(tmp_path)), (GUESS,), 7) == (GUESS,)
    assert time.monotonic() - start < 5


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
def test_in_the_kernels_own_files() -> None:
    tops = [top for top in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup") if os.path.isdir(top)]
    guess = Hierarchy(2, (tops[0],), certain=False)
    (found,) = find_own(Tree("/"), (guess,), os.getpid())
    assert found.certain
    procs = Path(found.directories[0], "cgroup.procs").read_text(encoding="ascii")
    assert str(os.getpid()) in procs.split()
