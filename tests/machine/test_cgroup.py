"""The kernel's texts, the directories to ask, and a probe that never raises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine import cgroup_tree
from gunicorn_autoconf.machine.cgroup_tree import (
    Hierarchy,
    Membership,
    Mount,
    choose_membership,
    choose_mount,
    list_directories,
    list_hierarchies,
    parse_mountinfo,
    parse_proc_cgroup,
)
from gunicorn_autoconf.machine.detect import detect_machine, find_file_system
from gunicorn_autoconf.machine.file import MAX_FILE_BYTES
from gunicorn_autoconf.machine.host import Host
from gunicorn_autoconf.machine.kernel_files import (
    parse_cfs_period,
    parse_cfs_quota,
    parse_cpu_max,
    parse_hierarchical_limit,
    parse_kb_field,
    parse_max,
    parse_meminfo,
    parse_memory_limit,
    parse_memory_stat,
    parse_memory_usage,
)

CGROUP = Path("/sys/fs/cgroup")


class FixedHost(Host):
    """A host with four cores and 8 GiB."""

    def affinity(self) -> int:
        return 4

    def online(self) -> int:
        return 4

    def physical_memory(self) -> tuple[int, int]:
        return 8_589_934_592, 4_294_967_296

    def own_memory(self, environ: Mapping[str, str]) -> int:
        return 0


def make_mount(**changes: Any) -> Mount:
    fields: dict[str, Any] = {
        "root": "/",
        "point": "/sys/fs/cgroup",
        "options": frozenset({"rw"}),
        "fs_type": "cgroup2",
        "super_options": frozenset({"rw"}),
    }
    return Mount(**{**fields, **changes})


# -- text to values ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_cpu_max, "150000 100000\n", 1.5),
        (parse_cpu_max, "50000 100000\n", 0.5),
        (parse_cpu_max, "max 100000\n", None),
        (parse_cpu_max, "max", None),
        (parse_cpu_max, "200000", 2.0),
        (parse_cpu_max, "-1 100000", None),
        (parse_cpu_max, "0 100000", None),
        (parse_cfs_quota, "150000\n", 150_000),
        (parse_cfs_quota, "-1\n", None),
        (parse_cfs_quota, "0\n", None),
        (parse_cfs_period, "100000\n", 100_000),
        (parse_max, "536870912\n", 536_870_912),
        (parse_max, "0\n", 0),
        (parse_max, "max\n", None),
        (parse_memory_limit, "536870912\n", 536_870_912),
        (parse_memory_limit, "9223372036854771712\n", None),  # pages of 4 KiB
        (parse_memory_limit, "9223372036854710272\n", None),  # pages of 64 KiB
        (parse_memory_limit, "-1\n", None),
        (parse_memory_usage, "104857600\n", 104_857_600),
        (parse_memory_stat, "anon 1\ninactive_file 2\n", {"anon": 1, "inactive_file": 2}),
        (parse_memory_stat, "", {}),
        (parse_hierarchical_limit, "rss 1\nhierarchical_memory_limit 4096\n", 4096),
        (parse_hierarchical_limit, "hierarchical_memory_limit 9223372036854771712\n", None),
        (parse_hierarchical_limit, "rss 1\n", None),
        (parse_meminfo, "MemTotal:  2 kB\nMemAvailable:  1 kB\n", (2048, 1024)),
        (parse_meminfo, "MemTotal:  2 kB\nMemFree:  1 kB\n", (2048, None)),
    ],
)
def test_value(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_cpu_max, ""),
        (parse_cpu_max, "max banana"),
        (parse_cpu_max, "100000 0"),
        (parse_cpu_max, "100000 100000 100000"),
        (parse_cpu_max, "1.5 100000"),
        (parse_cpu_max, "1_0 100000"),
        (parse_cpu_max, "٣ 100000"),
        (parse_cfs_quota, ""),
        (parse_cfs_quota, "--1"),
        (parse_cfs_quota, "max"),
        (parse_cfs_period, "0"),
        (parse_cfs_period, "-1"),
        (parse_max, ""),
        (parse_max, "-1"),
        (parse_max, "512M"),
        (parse_max, "9" * 5000),  # int() itself would give up with another error
        (parse_memory_limit, "max"),
        (parse_memory_usage, "-4096"),
        (parse_memory_stat, "inactive_file"),
        (parse_memory_stat, "inactive_file 1 2"),
        (parse_meminfo, ""),
        (parse_meminfo, "MemTotal: 0 kB"),
        (parse_meminfo, "MemTotal: 5 MB"),
        (parse_meminfo, "MemTotal: five kB"),
        (parse_proc_cgroup, "0:/"),
        (parse_proc_cgroup, "x::/"),
        (parse_proc_cgroup, "0::relative"),
        (parse_proc_cgroup, "0::/" + "a/" * 4096),
        (parse_mountinfo, "25 1 8:2 / / rw,relatime shared:1 ext4 /dev/sda2 rw"),
        (parse_mountinfo, "25 1 8:2 / / rw,relatime - ext4"),
        (parse_mountinfo, "x 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw"),
    ],
)
def test_malformed(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(MalformedFileError) as caught:
        parse(text)
    assert len(caught.value.text) <= 80


def test_malformed_error_shows_the_whole_file() -> None:
    with pytest.raises(MalformedFileError, match="found 'banana 100000'"):
        parse_cpu_max("banana 100000\n")


def test_field_is_matched_whole() -> None:
    text = "7f00-7f01 ---p 00000000 00:00 0    [rollup]\nRss:  9 kB\nPss_Dirty:  8 kB\nPss:  7 kB\n"
    assert parse_kb_field(text, "Pss") == 7168
    assert parse_kb_field(text, "Swap") is None


def test_proc_cgroup_keeps_colons_and_odd_line_ends() -> None:
    text = "4:cpu,cpuacct:/a:b\n1:name=systemd:/c\x0bd\n0::/e\n"
    assert parse_proc_cgroup(text) == (
        Membership(("cpu", "cpuacct"), "/a:b"),
        Membership(("name=systemd",), "/c\x0bd"),
        Membership((), "/e"),
    )


def test_mountinfo_takes_any_number_of_optional_fields() -> None:
    text = (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 0:2 / /a rw shared:1 - tmpfs  rw,mode=755\n"
        "3 1 0:3 / /b rw,noexec shared:1 master:2 propagate_from:3 - cgroup c rw,cpu\n"
    )
    assert parse_mountinfo(text) == (
        Mount("/", "/", frozenset({"rw"}), "ext4", frozenset({"rw"})),
        Mount("/", "/a", frozenset({"rw"}), "tmpfs", frozenset({"rw", "mode=755"})),
        Mount("/", "/b", frozenset({"rw", "noexec"}), "cgroup", frozenset({"rw", "cpu"})),
    )


def test_mountinfo_unescapes_once() -> None:
    (mount,) = parse_mountinfo(r"1 0 8:1 /\134040 /a\040b\011c\012d\134e rw - tmpfs none rw")
    assert mount.root == "/\\040"
    assert mount.point == "/a b\tc\nd\\e"


def test_mountinfo_bears_spaces_that_a_driver_forgot_to_escape() -> None:
    (mount,) = parse_mountinfo(
        r"1 0 0:9 / /Docker/host rw - 9p C:\134Program Files\134x rw,dirsync"
    )
    assert mount.point == "/Docker/host"


# -- which directories -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "controller", "found"),
    [
        ("0::/a", "cpu", (2, "/a")),
        ("2:cpu,cpuacct:/v1\n0::/v2", "cpu", (1, "/v1")),
        ("0::/v2\n2:cpu,cpuacct:/v1", "cpu", (1, "/v1")),
        ("2:cpuacct:/v1\n0::/v2", "cpu", (2, "/v2")),
        ("3:cpuset:/v1\n2:cpuacct:/v1", "cpu", None),
        ("2:cpu:/v1\n0::/v2", "memory", (2, "/v2")),
        ("", "memory", None),
    ],
)
def test_membership(
    text: str, controller: cgroup_tree.Controller, found: tuple[int, str] | None
) -> None:
    assert choose_membership(controller, parse_proc_cgroup(text)) == found


def test_mount_under_sys_is_preferred() -> None:
    elsewhere = make_mount(point="/host/cgroup", root="/")
    usual = make_mount(point="/sys/fs/cgroup/unified", root="/docker/a")
    for mounts in ((elsewhere, usual), (usual, elsewhere)):
        assert choose_mount(mounts, version=2, controller="cpu", path="/web") is usual


def test_then_the_mount_that_shows_our_path() -> None:
    other = make_mount(point="/sys/fs/cgroup/a", root="/docker/ab")
    ours = make_mount(point="/sys/fs/cgroup/b", root="/docker/a")
    for mounts in ((other, ours), (ours, other)):
        assert choose_mount(mounts, version=2, controller="cpu", path="/docker/a/web") is ours


def test_mount_must_hold_the_controller() -> None:
    cpuacct = make_mount(fs_type="cgroup", super_options=frozenset({"rw", "cpuacct"}))
    unified = make_mount(point="/sys/fs/cgroup/unified")
    assert choose_mount((cpuacct, unified), version=1, controller="cpu", path="/") is None
    assert choose_mount((cpuacct,), version=2, controller="cpu", path="/") is None


def test_mount_that_is_hidden_does_not_count() -> None:
    mounts = (make_mount(), make_mount(fs_type="tmpfs"))
    assert choose_mount(mounts, version=2, controller="cpu", path="/") is None


@pytest.mark.parametrize(
    ("root", "path", "directories", "certain"),
    [
        ("/", "/", ("/m",), True),
        ("/", "/a/b", ("/m/a/b", "/m/a", "/m"), True),
        ("/a", "/a", ("/m",), True),
        ("/a", "/a/b", ("/m/b", "/m"), True),
        ("/a", "/ab", ("/m",), False),
        ("/a", "/", ("/m",), False),
        ("/", "/../b", ("/m",), False),
        ("/", "/a..b", ("/m/a..b", "/m"), True),
        ("/", "/a//b/", ("/m/a/b", "/m/a", "/m"), True),
    ],
)
def test_directories(root: str, path: str, directories: tuple[str, ...], certain: bool) -> None:
    mount = make_mount(root=root, point="/m")
    assert list_directories(mount, path) == (directories, certain)


def test_fixed_directories_follow_as_guesses_and_none_is_asked_twice() -> None:
    found = list_hierarchies("memory", [Membership((), "/a")], [make_mount()])
    assert found == (
        Hierarchy(2, ("/sys/fs/cgroup/a", "/sys/fs/cgroup"), True),
        Hierarchy(1, ("/sys/fs/cgroup/memory",), False),
    )
    assert list_hierarchies("cpu", [], []) == (
        Hierarchy(2, ("/sys/fs/cgroup",), False),
        Hierarchy(1, ("/sys/fs/cgroup/cpu",), False),
        Hierarchy(1, ("/sys/fs/cgroup/cpu,cpuacct",), False),
        Hierarchy(1, ("/sys/fs/cgroup/cpuacct,cpu",), False),
    )


# -- what must always hold ---------------------------------------------------------------------

PARSERS: tuple[Callable[[str], object], ...] = (
    parse_cfs_period,
    parse_cfs_quota,
    parse_cpu_max,
    parse_hierarchical_limit,
    parse_meminfo,
    parse_memory_limit,
    parse_max,
    parse_memory_stat,
    parse_memory_usage,
    parse_mountinfo,
    parse_proc_cgroup,
)
# Texts that come near to what the kernel writes, beside any text at all.
near_texts = st.lists(
    st.sampled_from(
        [
            "0",
            "1",
            "-1",
            "max",
            "100000",
            "9" * 30,
            " ",
            "\n",
            ":",
            "::/",
            "/",
            "..",
            "-",
            "- ",
            "kB",
            "MemTotal:",
            "cpu",
            "memory",
            "cgroup",
            "cgroup2",
            "rw",
            ",",
            "\\040",
            "\\",
            "/sys/fs/cgroup",
            "inactive_file",
            "hierarchical_memory_limit",
            "\x00",
            "�",
            "٣",
        ]
    ),
    max_size=40,
).map("".join)
texts = st.text() | near_texts


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=texts)
@example(text="")
def test_any_text_is_a_value_or_malformed(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except MalformedFileError as error:
        str(error).encode()  # every log must be able to show it


@given(text=texts)
def test_any_text_has_a_field_or_is_malformed(text: str) -> None:
    try:
        size_bytes = parse_kb_field(text, "MemTotal")
    except MalformedFileError:
        return
    assert size_bytes is None or size_bytes >= 0


paths = st.lists(st.sampled_from(["/", "a", "..", "b:c", " ", "sys/fs/cgroup"]), max_size=8).map(
    lambda names: "/" + "".join(names)
)


@given(
    memberships=st.lists(
        st.builds(
            Membership,
            st.sampled_from([(), ("cpu",), ("cpu", "cpuacct"), ("memory",), ("name=systemd",)]),
            paths,
        )
    ),
    mounts=st.lists(
        st.builds(
            Mount,
            paths,
            paths,
            st.just(frozenset({"rw"})),
            st.sampled_from(["cgroup", "cgroup2", "tmpfs"]),
            st.sampled_from([frozenset({"cpu"}), frozenset({"memory", "rw"})]),
        )
    ),
    controller=st.sampled_from(["cpu", "memory"]),
)
def test_directories_lie_below_a_mount_point_or_are_guesses(
    memberships: list[Membership], mounts: list[Mount], controller: cgroup_tree.Controller
) -> None:
    for hierarchy in list_hierarchies(controller, memberships, mounts):
        if hierarchy.certain:
            assert hierarchy.directories[-1] in {mount.point for mount in mounts}
        else:
            assert len(hierarchy.directories) == 1
        point = hierarchy.directories[-1]
        for directory in hierarchy.directories:
            assert directory.startswith(point)
            assert ".." not in directory.removeprefix(point).split("/")


TREE_FILES = (
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "proc/meminfo",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/memory.high",
    "sys/fs/cgroup/memory.current",
    "sys/fs/cgroup/memory.stat",
    "sys/fs/cgroup/memory/memory.limit_in_bytes",
    "sys/fs/cgroup/memory/memory.usage_in_bytes",
    "sys/fs/cgroup/memory/memory.stat",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us",
    "dev/shm",
)
PLAUSIBLE = (
    b"0::/\n",
    b"1:cpu:/a\n2:memory:/b\n",
    b"1 0 0:1 / /sys/fs/cgroup rw - cgroup2 none rw\n",
    b"1 0 0:1 / /sys/fs/cgroup/\x00 rw - cgroup2 none rw\n",
    b"1 0 0:1 / /sys/fs/cgroup/\xff rw - cgroup2 none rw\n",
    b"1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup none rw,memory\n",
    b"2 0 0:2 / /dev/shm rw - tmpfs none rw\n",
    b"MemTotal: 8192 kB\n",
    b"hierarchical_memory_limit 1\n",
    b"max 100000\n",
    b"100000\n",
    b"-1\n",
)


@settings(deadline=None)
@given(
    contents=st.dictionaries(
        st.sampled_from(TREE_FILES), st.binary(max_size=200) | st.sampled_from(PLAUSIBLE)
    )
)
def test_probe_never_raises(
    contents: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    machine = detect_machine(str(root), environ={}, host=FixedHost())

    assert 0 < machine.cpu.cores <= 4
    for limit in machine.memory.levels:
        assert limit.limit_bytes >= 0
        assert limit.working_set_bytes is None or limit.working_set_bytes >= 0
    repr(machine).encode()
    json.dumps([problem.path for problem in machine.problems], ensure_ascii=False).encode()


# -- files that cannot be read, for root too -----------------------------------------------------


def make_v2_tree(root: Path) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/\n")
    (root / "proc/self/mountinfo").write_text("1 0 0:1 / /sys/fs/cgroup rw - cgroup2 none rw\n")
    (root / "proc/meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)


def make_directory(path: Path) -> None:
    path.mkdir()


def make_symlink_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)  # sparse


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (make_directory, "Is a directory"),
        (make_symlink_loop, "symbolic link"),
        (make_huge, f"at most {MAX_FILE_BYTES} bytes"),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "proc/self/cgroup",
        "proc/self/mountinfo",
        "proc/meminfo",
        "sys/fs/cgroup/cpu.max",
        "sys/fs/cgroup/memory.max",
        "sys/fs/cgroup/memory.high",
    ],
)
def test_unreadable_file_is_a_problem(
    name: str, spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make_v2_tree(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    spoil(tmp_path / name)

    (problem,) = detect_machine(str(tmp_path), environ={}, host=FixedHost()).problems

    assert problem.path == f"/{name}"
    assert message in problem.message


def test_named_pipe_does_not_hold_up_the_start(tmp_path: Path) -> None:
    make_v2_tree(tmp_path)
    os.mkfifo(tmp_path / "sys/fs/cgroup/memory.max")

    (problem,) = detect_machine(str(tmp_path), environ={}, host=FixedHost()).problems

    assert problem.path == "/sys/fs/cgroup/memory.max"


def test_unreadable_meminfo_is_not_replaced_by_a_guess(tmp_path: Path) -> None:
    make_v2_tree(tmp_path)
    (tmp_path / "proc/meminfo").write_text("nothing\n")
    assert detect_machine(str(tmp_path), environ={}, host=FixedHost()).memory.physical is None


def test_working_set_is_never_below_zero(tmp_path: Path) -> None:
    # The files are read one after the other, and MemAvailable is an estimate.
    make_v2_tree(tmp_path)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 8388609 kB\n")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("536870912\n")
    (tmp_path / "sys/fs/cgroup/memory.current").write_text("4096\n")
    (tmp_path / "sys/fs/cgroup/memory.stat").write_text("inactive_file 8192\n")

    memory = detect_machine(str(tmp_path), environ={}, host=FixedHost()).memory

    assert [level.working_set_bytes for level in memory.levels] == [0, 0]


@pytest.mark.parametrize(
    ("stat", "cache_mib"),
    [
        # 16 MiB at least are taken for code that runs.
        pytest.param({"active_file": 236}, 220, id="a file that was read three times"),
        pytest.param({"active_file": 236, "file_mapped": 60}, 176, id="mapped"),
        pytest.param({"active_file": 236, "file_dirty": 30, "file_writeback": 6}, 200, id="dirty"),
        pytest.param({"active_file": 15}, 0, id="code"),
        pytest.param({}, 0, id="not told"),
    ],
)
def test_page_cache_is_not_in_use(tmp_path: Path, stat: dict[str, int], cache_mib: int) -> None:
    mib = 1024 * 1024
    rows = {"inactive_file": 14, "shmem": 20, **stat}
    make_v2_tree(tmp_path)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(str(300 * mib))
    (tmp_path / "sys/fs/cgroup/memory.current").write_text(str(296 * mib))
    text = "".join(f"{name} {size * mib}\n" for name, size in rows.items())
    (tmp_path / "sys/fs/cgroup/memory.stat").write_text(text)

    (level,) = detect_machine(str(tmp_path), environ={}, host=FixedHost()).memory.limits

    # What kubelet calls so, and what counts here.
    assert level.working_set_bytes == 282 * mib
    assert level.cache_bytes == cache_mib * mib
    assert level.in_use_bytes == (282 - cache_mib) * mib
    assert level.shared_bytes == 20 * mib


def test_name_that_no_terminal_shows_is_escaped(tmp_path: Path) -> None:
    make_v2_tree(tmp_path)
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/\x1b[31m\xff\n")
    directory = os.fsencode(tmp_path) + b"/sys/fs/cgroup/\x1b[31m\xff"
    try:
        os.mkdir(directory)
    except OSError as error:  # macOS wants UTF-8
        pytest.skip(f"cannot make such a directory: {error}")
    with open(directory + b"/cpu.max", "wb") as file:
        file.write(b"200000 100000\n")

    quota = detect_machine(str(tmp_path), environ={}, host=FixedHost()).cpu.quota

    assert quota is not None
    assert quota.cores == 2.0
    assert quota.origin.path == r"/sys/fs/cgroup/\x1b[31m\udcff/cpu.max"


def test_host_that_fails_is_a_problem(tmp_path: Path) -> None:
    class FailingHost(FixedHost):
        def affinity(self) -> int:
            raise PermissionError(1, "Operation not permitted")

        def own_memory(self, environ: Mapping[str, str]) -> int:
            raise RuntimeError("gone")

    make_v2_tree(tmp_path)
    machine = detect_machine(str(tmp_path), environ={}, host=FailingHost())

    assert machine.cpu.affinity == 4
    assert machine.memory.own_bytes == 0
    assert [problem.message for problem in machine.problems] == [
        "PermissionError: [Errno 1] Operation not permitted",
        "RuntimeError: gone",
    ]


def test_shared_memory_that_we_may_not_write_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_v2_tree(tmp_path)
    (tmp_path / "proc/self/mountinfo").write_text("2 0 0:2 / /dev/shm rw - tmpfs none rw\n")
    (tmp_path / "dev/shm").mkdir(parents=True)
    assert detect_machine(str(tmp_path), environ={}).worker_tmp_dir == "/dev/shm"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert detect_machine(str(tmp_path), environ={}).worker_tmp_dir is None


@pytest.mark.parametrize(
    ("directory", "kind"),
    [("/srv", "ext4"), ("/srv/beats", "tmpfs"), ("/srv/beats/a", "tmpfs"), ("/srv/beatsy", "ext4")],
)
def test_file_system_of_a_directory(tmp_path: Path, directory: str, kind: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    assert find_file_system(directory, str(tmp_path)) is None
    (tmp_path / "proc/self/mountinfo").write_text(
        "1 0 0:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:2 / /srv/beats rw - xfs /dev/b rw\n"
        "3 1 0:3 / /srv/beats rw - tmpfs none rw\n"
    )
    assert find_file_system(directory, str(tmp_path)) == kind


# -- the operating system itself -----------------------------------------------------------------


def test_this_machine() -> None:
    machine = detect_machine()
    assert 0 < machine.cpu.cores <= machine.cpu.online
    assert machine.memory.physical is not None
    assert machine.memory.physical.limit_bytes > 64 * 1024**2
    assert machine.memory.own_bytes > 4 * 1024**2
    assert machine.problems == ()


@pytest.fixture
def hungry_child() -> Iterator[int]:
    """Start a process that starts another, which holds 64 MiB."""
    grandchild = "x = bytearray(64 * 1024**2); print('ready', flush=True); input()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid


@pytest.mark.parametrize("way", ["files", "psutil"])
@pytest.mark.usefixtures("hungry_child")
def test_own_memory_counts_descendants(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "psutil":
        exists = os.path.exists
        monkeypatch.setattr(
            os.path, "exists", lambda path: "children" not in str(path) and exists(path)
        )
    assert 64 * 1024**2 < Host().own_memory({}) < 1024**3


def test_own_memory_counts_the_old_arbiter_while_upgrading() -> None:
    # The parent of this process stands for the old arbiter; a child asks in the place of the new.
    script = (
        "import os\n"
        "from gunicorn_autoconf.machine.host import Host\n"
        "print(Host().own_memory({}), Host().own_memory({'GUNICORN_PID': str(os.getppid())}),"
        " Host().own_memory({'GUNICORN_PID': '1'}))\n"
    )
    ballast = bytearray(64 * 1024**2)
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=child_env()
    )
    alone, upgrading, promoted = map(int, answer.stdout.split())

    assert len(ballast) < upgrading
    assert alone < 64 * 1024**2
    assert promoted < 64 * 1024**2


def child_env() -> dict[str, str]:
    package_folder = str(Path(cgroup_tree.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": package_folder}


# -- a cgroup of the kernel ----------------------------------------------------------------------


@pytest.fixture
def real_cgroups() -> Iterator[dict[str, Path]]:
    """Make cgroups with 1.5 cores and 512 MiB; the directories to join, by controller."""
    name = f"autoconf_{os.getpid()}"
    unified = (CGROUP / "cgroup.controllers").exists()
    settings_of = (
        {name: {"cpu.max": "150000 100000", "memory.max": "536870912"}}
        if unified
        else {
            f"cpu/{name}": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"},
            f"memory/{name}": {"memory.limit_in_bytes": "536870912"},
        }
    )
    made: dict[str, Path] = {}
    try:
        try:
            for folder, values in settings_of.items():
                (CGROUP / folder).mkdir()
                made[folder.split("/")[0] if not unified else "unified"] = CGROUP / folder
                for file, value in values.items():
                    (CGROUP / folder / file).write_text(value)
        except OSError as error:
            pytest.skip(f"cannot make a cgroup here: {error}")
        yield made
    finally:
        for folder_path in made.values():
            folder_path.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
def test_real_cgroup(real_cgroups: dict[str, Path]) -> None:
    script = (
        "import sys\n"
        "for directory in sys.argv[1:]:\n"
        "    with open(directory + '/cgroup.procs', 'w') as file:\n"
        "        file.write('0')\n"
        "import json\n"
        "from gunicorn_autoconf.cli.explain.document import as_values\n"
        "from gunicorn_autoconf.machine.detect import detect_machine\n"
        "print(json.dumps(as_values(detect_machine())))\n"
    )
    directories = [str(directory) for directory in real_cgroups.values()]
    command = [sys.executable, "-c", script, *directories]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=child_env())
    assert answer.returncode == 0, answer.stderr
    machine = json.loads(answer.stdout)

    if "unified" in real_cgroups:
        cpu_path = f"{real_cgroups['unified']}/cpu.max"
        memory_path = f"{real_cgroups['unified']}/memory.max"
    else:
        cpu_path = f"{real_cgroups['cpu']}/cpu.cfs_quota_us"
        memory_path = f"{real_cgroups['memory']}/memory.limit_in_bytes"
    assert machine["problems"] == []
    assert machine["cpu"]["quota"]["cores"] == 1.5
    assert machine["cpu"]["quota"]["origin"]["path"] == cpu_path
    assert machine["cpu"]["quota"]["origin"]["certain"] is True
    limit = machine["memory"]["limits"][0]
    assert limit["limit_bytes"] == 536_870_912
    assert 0 < limit["working_set_bytes"] < 536_870_912
    assert limit["origin"]["path"] == memory_path
