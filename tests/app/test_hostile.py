"""Text that somebody has written to do harm: what it costs to read, and that none of it runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gunicorn_autoconf

pytestmark = pytest.mark.one_python

TESTS = Path(__file__).parents[1]
PACKAGE = Path(gunicorn_autoconf.__file__).parents[1]

CPU_SECONDS = 20  # ten times and more what each takes; what it took before was minutes
MORE_BYTES = 400_000_000  # beside Python and the package

LIMITS = f"""
import os, resource, sys
from gunicorn_autoconf.machine import cgroup_tree, kernel_files  # before the limit
from gunicorn_autoconf.server import autoconf
from gunicorn_autoconf.app.detect import detect_interface
def detect(source, target="app:app"):
    with open("app.py", "w") as file:
        file.write(source)
    print(detect_interface(target, [""]).evidence)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {MORE_BYTES},) * 2)
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS},) * 2)
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")


def run_limited(program: str, folder: Path) -> str:
    """What *program* prints where time and memory are bounded."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITS + textwrap.dedent(program)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# What is too large is not read ------------------------------------------------------------------


@linux_only
def test_ten_megabytes(tmp_path: Path) -> None:
    """Every file that is read, below a root and in the folder of the application."""
    names = ("meminfo", "self/cgroup", "self/mountinfo")
    cgroup = ("cpu.max", "memory.max", "memory.high", "cpu/cpu.cfs_quota_us")
    files = [f"proc/{name}" for name in names] + [f"sys/fs/cgroup/{name}" for name in cgroup]
    for name in (*files, "app.py", "gunicorn.conf.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"workers = 1\n" * 833_334)

    out = run_limited(
        """
        import json
        from gunicorn_autoconf.server.gunicorn import assigned_values
        from gunicorn_autoconf.machine.detect import detect_machine
        problems = detect_machine(os.getcwd(), environ={}).problems
        told = detect_interface("app:app", [""]).evidence
        names = list(assigned_values("gunicorn.conf.py"))
        print(json.dumps([[(row.path, row.message[:30]) for row in problems], told, names]))
        """,
        tmp_path,
    )
    problems, told, assigned = json.loads(out)
    expected = "expected at most 4194304 bytes"
    assert sorted(problems) == sorted([f"/{name}", expected] for name in files)
    assert told == "app.py too large to read"
    assert assigned == []


@linux_only
def test_modules_that_are_large_together(tmp_path: Path) -> None:
    """Each would be read alone."""
    table = "table = [" + "1," * 100_000 + "]\n"
    for number in range(8):
        source = f"from m{number + 1} import app\n{table}app = wrap(app, table)\n"
        (tmp_path / f"m{number}.py").write_text(source)
    out = run_limited('print(detect_interface("m0:app", [""]).evidence)', tmp_path)
    assert "too " in out
    assert "unexpectedly" not in out


@linux_only
@pytest.mark.parametrize(
    ("source", "evidence"),
    [
        ('"app = 1\\n" * 400_000', "too large to read"),
        ('"app = [" + "app," * 900_000 + "]"', "too large to read"),
        ("'\"\"\"' + 'app = 1\\n' * 300_000", "cannot be found"),
        ("'(' * 3_000_000 + '\\napp = 1'", "too large to read"),
        ("'\\\\\\n' * 1_500_000 + 'app = 1'", ""),
        ("'#\\n' * 1_500_000 + 'app = 1'", "1 at app.py:1500001 is beyond what can be read"),
        ("'app = 1\\n' + '#\\n' * 1_500_000", "1 at app.py:1 is beyond what can be read"),
        ("'@app\\n' * 600_000 + 'def app(): pass'", ""),
        ("'from m import *\\n' * 200_000", "too large to read"),
        ("'a\\n' * 2_000_000", "cannot be found"),
    ],
    ids=range(10),
)
def test_module_of_some_megabytes(tmp_path: Path, source: str, evidence: str) -> None:
    """Only the statements that bind the name are parsed."""
    out = run_limited(f"detect({source})", tmp_path)
    assert evidence in out
    assert "unexpectedly" not in out


# What is read takes time in proportion ----------------------------------------------------------


@linux_only
@pytest.mark.parametrize(
    "program",
    [
        'detect("a = [" + "1," * 200_000 + "]\\napp = " + "a or " * 1_000 + "a")',
        'detect("app = f([" + "1," * 200_000 + "])" + "(1)" * 200)',
        'detect("def f():\\n" + " q = 1\\n" * 24_000 + "app = " + "f() or " * 1_000 + "f()")',
        (
            'detect("class A:\\n def __init__(self):\\n" + "  self.q = 1\\n" * 14_000'
            ' + "app = " + "A().x or " * 1_000 + "1")'
        ),
        (
            'detect("app = 1\\n" + "if x:\\n app = 2\\n raise\\n" * 8_000 + "b = app or b\\n" * 99'
            ' + "app = " + "b or " * 999 + "b")'
        ),
        'detect("a\\n" * 80_000)',
        'detect("app = 1", "app:app(" + "1," * 5_000_000 + ")")',
        'detect("app = 1", "a." * 5_000_000 + ":app")',
    ],
    ids=["table", "calls", "returns", "attributes", "branches", "names", "arguments", "module"],
)
def test_source_that_is_costly_to_follow(tmp_path: Path, program: str) -> None:
    out = run_limited(program, tmp_path)
    assert "unexpectedly" not in out
    assert len(out) < 200


FILES_OF_THE_KERNEL = [
    'cgroup_tree.parse_mountinfo("1 1 0:1 / /a rw - a b c\\n" * 40_000)',
    'cgroup_tree.parse_mountinfo("1 1 0:1 / /" + "\\\\040" * 900_000 + " rw - a b c")',
    'cgroup_tree.parse_mountinfo("1 1 0:1 / /a " + "a,b," * 900_000 + " - a b c")',
    'cgroup_tree.parse_mountinfo("1 1 0:1 / /a rw " + "x " * 1_900_000 + "- a b c")',
    'cgroup_tree.parse_proc_cgroup("0::/\\n" * 200_000)',
    'cgroup_tree.parse_proc_cgroup("0:" + "a," * 1_900_000 + ":/")',
    (
        "cgroup_tree.list_directories("
        'cgroup_tree.Mount("/", "/", frozenset(), "", frozenset()), "/a" * 2_048)'
    ),
    'kernel_files.parse_memory_stat("".join(f"{i:x} 1\\n" for i in range(200_000)))',
    'kernel_files.parse_meminfo("MemFree: 1 kB\\n" * 200_000 + "MemTotal: 1 kB")',
]


@linux_only
def test_files_of_the_kernel(tmp_path: Path) -> None:
    run_limited("\n".join(FILES_OF_THE_KERNEL), tmp_path)


@linux_only
def test_environment_full_of_unknown_names(tmp_path: Path) -> None:
    """Two megabytes, which is all that Linux hands to a program; each name is near to a known."""
    out = run_limited(
        """
        from gunicorn_autoconf.plan.declaration import read_declaration
        environ = {f"GUNICORN_WORKER_MEM{number:06d}": "1" for number in range(77_000)}
        warnings = read_declaration(environ).warnings
        print(len(warnings), warnings[0], warnings[-1], sep="\\n")
        """,
        tmp_path,
    )
    assert out.splitlines() == [
        "21",
        "GUNICORN_WORKER_MEM000000 is unknown and has no effect",
        "76980 more GUNICORN_* variables are unknown",
    ]


def test_number_that_python_does_not_write(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("app = 0x" + "f" * 5_000)
    found = gunicorn_autoconf.autoconf(
        environ={"GUNICORN_CMD_ARGS": f"--chdir {tmp_path}"}, argv=["gunicorn", "app:app"]
    )
    assert found.application is not None
    assert found.application.evidence == "... at app.py:1 is beyond what can be read"


# Nothing runs -----------------------------------------------------------------------------------

# All that the interpreter reports of itself while applications are read.
# Source: Python, "Audit events table".
AUDIT = """
import ast, json, sys

ast.unparse(ast.parse("x"))  # From Python 3.14 on its module is imported at the first call.
from pathlib import Path
from corpus import ALL, search_path
from gunicorn_autoconf.app.detect import detect_interface
seen = set()
def note(event, arguments):
    if not on or event in ("compile", "os.listdir", "os.scandir", "object.__getattr__"):
        return
    if event == "open":
        path, mode, flags = arguments
        event = f"open {mode} {flags & 3}"  # O_ACCMODE
    elif event == "import":
        event = f"import {arguments[0]}"
    seen.add(event)
on = False
sys.addaudithook(note)
detect_interface(ALL[0].target, search_path(ALL[0]))  # what Python loads by itself
on = True
for case in ALL:
    detect_interface(case.target, search_path(case))
on = False
print(json.dumps(sorted(seen)))
"""


def test_reading_applications_only_reads() -> None:
    """No import, no code that is run, no process, no socket, no file that is written."""
    done = subprocess.run(
        [sys.executable, "-c", AUDIT],
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(PACKAGE)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The second is Python itself, which looks for the line of a syntax error.
    assert set(json.loads(done.stdout)) <= {"open rb 0", "open r 0"}


# The fuzzer's targets ---------------------------------------------------------------------------


def _targets() -> dict[str, Any]:
    path = TESTS.parent / "fuzz" / "targets.py"
    spec = importlib.util.spec_from_file_location("fuzz_targets", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    targets: dict[str, Any] = module.TARGETS
    return targets


TARGETS = _targets()


@pytest.mark.parametrize("name", TARGETS)
def test_target_takes_its_seeds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run: Callable[[bytes], None] = TARGETS[name].run
    seeds = list(TARGETS[name].seeds())
    assert seeds
    for seed in seeds:
        run(seed)
        run(seed[: len(seed) // 2] + b"\xff\x00" + seed)
