"""
Which cgroup directories hold the limits of this process. Pure.

    /proc/self/cgroup     which cgroup are we in            parse_proc_cgroup  -> Membership
    /proc/self/mountinfo  where is that hierarchy mounted   parse_mountinfo    -> Mount
    both                  directories, leaf first           list_hierarchies   -> Hierarchy

cgroup v1, v2 and hosts that mix both. A platform that shows its files elsewhere is a row of
`_FIXED_DIRECTORIES`. Text that no kernel writes raises `MalformedFileError`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine.kernel_files import is_number, split_lines

Controller = Literal["cpu", "memory", "pids"]
Version = Literal[1, 2]

CGROUP_ROOT = "/sys/fs/cgroup"

# fs/proc: the path of a cgroup is written through a buffer of PATH_MAX bytes.
_PATH_MAX = 4096
# The characters that fs/seq_file.c and mangle() write as octal: tab, newline, space, # and \.
_OCTAL = re.compile(r"\\(011|012|040|043|134)")

# Some platforms show these files and neither membership nor mounts; buildpacks read them so.
_FIXED_DIRECTORIES: dict[Controller, tuple[tuple[Version, str], ...]] = {
    "cpu": (
        (2, CGROUP_ROOT),
        (1, f"{CGROUP_ROOT}/cpu"),
        (1, f"{CGROUP_ROOT}/cpu,cpuacct"),
        (1, f"{CGROUP_ROOT}/cpuacct,cpu"),
    ),
    "memory": ((2, CGROUP_ROOT), (1, f"{CGROUP_ROOT}/memory")),
    "pids": ((2, CGROUP_ROOT), (1, f"{CGROUP_ROOT}/pids")),
}


# Named tuples, not data classes: they take a tenth of the time to define, and the start waits.
class Membership(NamedTuple):
    """One line of ``/proc/self/cgroup``: the cgroup we are in, in one hierarchy."""

    controllers: tuple[str, ...]
    """The v1 controllers of this hierarchy; empty for cgroup v2."""
    path: str
    """The cgroup, as seen from the root of our cgroup namespace."""


class Mount(NamedTuple):
    """One line of ``/proc/self/mountinfo``, unescaped."""

    root: str
    """The directory of the file system that is mounted."""
    point: str
    """Where it is mounted."""
    options: frozenset[str]
    """Options of this mount, such as ``rw``."""
    fs_type: str
    super_options: frozenset[str]
    """Options of the file system; the controllers of a v1 hierarchy among them."""


class Hierarchy(NamedTuple):
    """The directories whose limits bind us for one controller."""

    version: Version
    directories: tuple[str, ...]
    """From our own cgroup, the leaf, up to the mount point; some may not exist."""
    certain: bool
    """False where the directory is a guess."""


def parse_proc_cgroup(text: str) -> tuple[Membership, ...]:
    """
    Return the cgroups that a process is in, one for each hierarchy.

    *text* is a whole ``/proc/<pid>/cgroup`` file. A path may hold colons.

    >>> parse_proc_cgroup("4:cpu,cpuacct:/docker/a:b")
    (Membership(controllers=('cpu', 'cpuacct'), path='/docker/a:b'),)
    >>> parse_proc_cgroup("0::/")
    (Membership(controllers=(), path='/'),)

    Source:
        cgroups(7), "/proc/pid/cgroup".
    """
    memberships = []
    for line in split_lines(text):
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not (is_number(number) and colon and path.startswith("/") and len(path) <= _PATH_MAX):
            raise MalformedFileError("number:controllers:/path", line)
        names = tuple(controllers.split(",")) if controllers else ()
        memberships.append(Membership(names, path))
    return tuple(memberships)


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    r"""
    Return the mounts that a process sees, in the order in which they were made.

    *text* is a whole ``/proc/<pid>/mountinfo`` file.

    >>> line = r"31 23 0:28 / /a\040b rw,noexec shared:4 - cgroup cgroup rw,cpu,cpuacct"
    >>> (mount,) = parse_mountinfo(line)
    >>> mount.point, mount.fs_type, sorted(mount.super_options)
    ('/a b', 'cgroup', ['cpu', 'cpuacct', 'rw'])

    Source:
        proc_pid_mountinfo(5). The optional fields before the lone ``-`` may be none or several.
    """
    return tuple(_parse_mount(line) for line in split_lines(text))


def _parse_mount(line: str) -> Mount:
    # Split at single spaces: the source of a mount may be empty. Fields after the fourth behind
    # the dash come from drivers that forget to escape a space (9p under WSL) and are of no use.
    fields = line.split(" ")
    try:
        dash = fields.index("-", 6)
        fs_type, _source, super_options = fields[dash + 1 : dash + 4]
    except ValueError:
        raise MalformedFileError("a line of mountinfo", line) from None
    if not is_number(fields[0]):
        raise MalformedFileError("a line of mountinfo", line)
    return Mount(
        root=_unescape(fields[3]),
        point=_unescape(fields[4]),
        options=frozenset(fields[5].split(",")),
        fs_type=fs_type,
        super_options=frozenset(super_options.split(",")),
    )


def visible_mounts(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """Return the mounts without those that a later mount at the same place hides."""
    return tuple({mount.point: mount for mount in mounts}.values())


def is_from_lxcfs(path: str, mounts: Iterable[Mount]) -> bool:
    """Return whether lxcfs, and not the kernel, answers what a container reads from *path*."""
    at_path = [mount for mount in visible_mounts(mounts) if mount.point == path]
    return any(mount.fs_type == "fuse.lxcfs" for mount in at_path)


def is_below_root(
    controller: Controller, memberships: Iterable[Membership], mounts: Iterable[Mount]
) -> bool:
    r"""
    Return whether we are known to be in another cgroup than the root of the whole hierarchy.

    In a cgroup namespace our own cgroup is called ``/``. A mount whose root is above, ``/..``,
    gives that away.

    >>> is_below_root("memory", parse_proc_cgroup("0::/"), [])
    False
    >>> is_below_root("memory", parse_proc_cgroup("0::/system.slice/web.service"), [])
    True
    """
    membership = choose_membership(controller, memberships)
    if membership is None:
        return False
    version, path = membership
    mount = choose_mount(mounts, version=version, controller=controller, path=path)
    return path != "/" or (mount is not None and mount.root != "/")


def list_hierarchies(
    controller: Controller, memberships: Iterable[Membership], mounts: Iterable[Mount]
) -> tuple[Hierarchy, ...]:
    """
    Return where to look for the limits of *controller*, the best place first.

    First the hierarchy that we are shown to be in, if any; then the fixed directories in which
    some platforms keep their files, as guesses and without what the first holds already.
    """
    hierarchies: list[Hierarchy] = []
    directories: tuple[str, ...] = ()
    if membership := choose_membership(controller, memberships):
        version, path = membership
        if mount := choose_mount(mounts, version=version, controller=controller, path=path):
            directories, certain = list_directories(mount, path)
            hierarchies.append(Hierarchy(version, directories, certain))
    hierarchies += [
        Hierarchy(version, (directory,), certain=False)
        for version, directory in _FIXED_DIRECTORIES[controller]
        if directory not in directories
    ]
    return tuple(hierarchies)


def choose_membership(
    controller: Controller, memberships: Iterable[Membership]
) -> tuple[Version, str] | None:
    r"""
    Return the cgroup version that has *controller* and our path there, or None.

    A v1 line that names the controller beats the v2 line: on hybrid hosts both are there, and a
    controller belongs to one hierarchy only.

    >>> choose_membership("cpu", parse_proc_cgroup("2:cpuacct:/a\n1:cpu:/b\n0::/c"))
    (1, '/b')
    >>> choose_membership("memory", parse_proc_cgroup("1:cpu:/b\n0::/c"))
    (2, '/c')
    """
    unified: tuple[Version, str] | None = None
    for membership in memberships:
        if controller in membership.controllers:
            return 1, membership.path
        if not membership.controllers:
            unified = 2, membership.path
    return unified


def choose_mount(
    mounts: Iterable[Mount], *, version: Version, controller: Controller, path: str
) -> Mount | None:
    """
    Return the mount through which to read the limits of the cgroup *path*, or None.

    Of several, one under ``/sys/fs/cgroup`` is preferred (monitoring containers mount the host's
    elsewhere), then one that shows *path*.
    """
    fitting = [
        mount
        for mount in visible_mounts(mounts)
        if len(mount.point) <= _PATH_MAX and _holds(mount, version, controller)
    ]
    return max(
        fitting,
        key=lambda mount: (is_within(mount.point, CGROUP_ROOT), is_within(path, mount.root)),
        default=None,
    )


def _holds(mount: Mount, version: Version, controller: Controller) -> bool:
    if version == 1:
        return mount.fs_type == "cgroup" and controller in mount.super_options
    return mount.fs_type == "cgroup2"


def list_directories(mount: Mount, path: str) -> tuple[tuple[str, ...], bool]:
    """
    Return the directories from the cgroup *path* up to the mount point, and whether they are ours.

    The mount point counts: with a cgroup namespace it is our own cgroup. Where *path* lies outside
    of what is mounted, the mount point alone is returned, as a guess.

    >>> mount = Mount("/docker", "/cg", frozenset(), "cgroup2", frozenset())
    >>> list_directories(mount, "/docker/a/b")
    (('/cg/a/b', '/cg/a', '/cg'), True)
    >>> list_directories(mount, "/../c")
    (('/cg',), False)
    """
    if ".." in path.split("/") or not is_within(path, mount.root):
        return (mount.point,), False
    relative = path[len(mount.root.rstrip("/")) :]
    names = [name for name in relative.split("/") if name]
    depths = range(len(names), -1, -1)
    return tuple(posixpath.join(mount.point, *names[:depth]) for depth in depths), True


def is_within(path: str, directory: str) -> bool:
    """Return whether *path* is *directory* or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _unescape(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field) if "\\" in field else field
