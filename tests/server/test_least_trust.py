"""
The real server with less than it is used to: another user, nothing to write, nothing to read.

It must serve, and its log must say what is missing. What is taken away is taken away in a mount
namespace of the server's own, for which the tests must be root.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from harness import MODULE_DOOR, Launcher, Server, get
from namespaces import may_unshare

WSGI = "gunicorn_autoconf.demo:wsgi_app"
ASGI = "gunicorn_autoconf.demo:app"

NOBODY = 65534  # Debian, Fedora, Alpine: nobody, and what the kernel shows for nobody we know.
AS_NOBODY = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --"
# Without these the root of a container may not look into processes of others; Docker's default.
# From Linux 6.14 on CAP_PERFMON, which CAP_SYS_ADMIN includes, is enough to look.
BLIND_ROOT = "setpriv --bounding-set=-sys_ptrace,-perfmon,-sys_admin --"


pytestmark = [pytest.mark.server, pytest.mark.one_python]

takes_away = pytest.mark.skipif(
    not may_unshare(), reason="needs root, and a mount namespace of its own"
)


def _closed_folders(path: str) -> Iterator[Path]:
    """Each folder above *path* that others than its owner may not pass, the outermost first."""
    for folder in reversed(Path(path).parents):
        if not folder.stat().st_mode & 0o001:
            yield folder


def _open_python() -> str:
    """Shell commands that let everybody reach the interpreter, which may lie in /root."""
    for closed in _closed_folders(f"{sys.base_prefix}/bin"):
        inner = Path(sys.base_prefix).relative_to(closed)
        # Nothing but the interpreter: what else lies there stays closed.
        return (
            f"keep=$(mktemp -d); mount --bind {closed} $keep;"
            f" mount -t tmpfs -o mode=755 none {closed}; mkdir -p {sys.base_prefix};"
            f" mount --bind $keep/{inner} {sys.base_prefix}; umount $keep; rmdir $keep; "
        )
    return ""


@pytest.fixture
def launcher(gunicorn: Launcher) -> Iterator[Launcher]:
    """As `gunicorn`, in a folder that everybody may enter and read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield replace(gunicorn, folder=folder)
    for server in gunicorn.servers:
        server.close()
        print(f"--- {server.log_path}\n{server.log}")
    gunicorn.servers.clear()
    shutil.rmtree(folder)


def start(
    launcher: Launcher,
    prepare: str,
    *arguments: str,
    run_as: str = "",
    app: str = WSGI,
    **variables: str,
) -> Server:
    """Start a server where the shell commands *prepare* have changed what is mounted."""
    script = f'set -e; {_open_python()}{prepare} exec {run_as} "$@"'
    restricted = replace(launcher, wrapper=("unshare", "--mount", "sh", "-c", script, "sh"))
    ours = {"GUNICORN_WORKERS": "2", "GUNICORN_MEMORY_LOG_INTERVAL": "1", **variables}
    return restricted.start(*MODULE_DOOR, *arguments, app, **ours)


def published(server: Server) -> tuple[str, int]:
    """Where health answers are served."""
    found = server.wait_for(r"gunicorn-autoconf: .*/readyz at http://127.0.0.1:(\d+)")
    return "127.0.0.1", int(found[1])


@takes_away
def test_user_without_rights(launcher: Launcher) -> None:
    server = start(launcher, "", run_as=AS_NOBODY)
    pids = server.wait_for_workers(2)

    assert server.get("/").status == 200
    assert {psutil.Process(pid).uids().real for pid in (server.pid, *pids)} == {NOBODY}
    server.wait_for(r"memory workers=2 pss=\d")
    assert server.lines("WARNING|ERROR") == []


@takes_away
@pytest.mark.parametrize("app", [WSGI, ASGI])
def test_read_only_file_systems(launcher: Launcher, app: str) -> None:
    """All but the memory at /dev/shm, as under Kubernetes' ``readOnlyRootFilesystem``."""
    server = start(launcher, "mount -o remount,bind,ro /;", app=app)
    server.wait_for_workers(2)

    assert server.get("/").status == 200
    server.wait_for("running with .* worker_tmp_dir=/dev/shm")
    assert server.lines("WARNING|ERROR") == []


@takes_away
def test_no_shared_memory(launcher: Launcher) -> None:
    server = start(launcher, "while umount /dev/shm 2>/dev/null; do :; done;")
    server.wait_for_workers(2)

    assert server.get("/").status == 200
    server.wait_for("running with .* worker_tmp_dir=None")


@takes_away
def test_no_proc(launcher: Launcher) -> None:
    health = {"GUNICORN_HEALTH": "127.0.0.1:0", "GUNICORN_METRICS": "127.0.0.1:0"}
    server = start(launcher, "mount -t tmpfs none /proc;", **health)
    server.wait_for_workers(2)
    assert get(published(server), "/readyz") == (200, "ok\n")
    assert "gunicorn_requests_total 0.0" in get(published(server), "/metrics").body

    assert server.get("/").status == 200
    assert len(server.lines("plan: .*, memory unknown, ")) == 1
    assert len(server.lines(r"WARNING\].*'/proc/meminfo'")) == 1
    assert len(server.lines(r"worker \d+ booted: memory unknown")) == 2
    assert server.mistakes() == []


@takes_away
def test_dropped_privileges(launcher: Launcher) -> None:
    """The arbiter is root, as it must be for a port below 1024; the workers are not."""
    path = launcher.folder / "metrics.sock"
    options = ("--user", str(NOBODY), "--group", str(NOBODY))
    served = {"GUNICORN_METRICS": f"unix:{path}", "GUNICORN_HEALTH": "127.0.0.1:0"}
    server = start(launcher, "", *options, **served)
    pids = server.wait_for_workers(2)
    assert 'gunicorn_workers{state="ready"} 2.0' in get(str(path), "/metrics").body
    assert (path.stat().st_gid, path.stat().st_mode & 0o777) == (NOBODY, 0o660)
    assert get(published(server), "/readyz").status == 200
    for pid in pids:
        listening = [
            row.laddr
            for row in psutil.Process(pid).net_connections("all")
            if row.laddr in (str(path), published(server))
        ]
        assert listening == []

    assert server.get("/").status == 200
    assert psutil.Process(server.pid).uids().real == 0
    assert {psutil.Process(pid).uids().real for pid in pids} == {NOBODY}
    server.wait_for(r"memory workers=2 pss=\d")
    assert server.lines("WARNING|ERROR") == []


@takes_away
def test_denied_smaps_rollup(launcher: Launcher) -> None:
    """The workers' RSS takes the place of what the kernel does not show, and is no growth."""
    options = ("--user", str(NOBODY), "--group", str(NOBODY))
    server = start(launcher, "", *options, run_as=BLIND_ROOT)
    first, second = sorted(server.wait_for_workers(2))
    either = f"(?:{first}|{second})="

    assert server.get("/").status == 200
    line = rf"memory workers=2 .* ({first}|{second})=(\S+)MiB\(([+-]\S+)\) {either}"
    largest, *told = server.wait_for(line).groups()
    uss, growth = map(float, told)
    (boot,) = server.lines(rf"worker {largest} booted in .* rss=\S+ pss=\S+ uss=\S+")
    own = float(boot.rpartition("uss=")[2].removesuffix("MiB"))
    assert uss > own + 8  # Python's own pages, which all of them share.
    assert growth < 4
    assert server.lines("WARNING|ERROR") == []


# What the page "Security" promises --------------------------------------------------------------


@pytest.mark.parametrize("app", [WSGI, ASGI])
def test_listens_and_writes_nowhere_but_where_gunicorn_does(gunicorn: Launcher, app: str) -> None:
    server = gunicorn.start(*MODULE_DOOR, app, GUNICORN_WORKERS="2")
    pids = server.wait_for_workers(2)
    server.wait_for("memory workers=2")
    assert server.get("/").status == 200

    for pid in (server.pid, *pids):
        process = psutil.Process(pid)
        listening = {
            row.laddr for row in process.net_connections("all") if row.status == psutil.CONN_LISTEN
        }
        written = {row.path for row in process.open_files() if getattr(row, "mode", "r") != "r"}
        assert listening == {server.address}
        assert written <= {str(server.log_path)}
