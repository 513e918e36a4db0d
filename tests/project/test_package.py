"""What is shipped, and what runs once it is installed."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import gunicorn_autoconf

pytestmark = pytest.mark.one_python

TOP = Path(__file__).parents[2]


def run(*command: str, folder: Path) -> str:
    result = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def build(kind: str, folder: Path) -> Path:
    """Build with the backend itself: a frontend would fetch it from a package index again."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder), folder=TOP)
    (built,) = folder.iterdir()
    return built


def test_wheel(tmp_path: Path) -> None:
    wheel = build("wheel", tmp_path)

    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"gunicorn_autoconf-{gunicorn_autoconf.__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    package = TOP / "gunicorn_autoconf"
    modules = {path.relative_to(TOP).as_posix() for path in package.rglob("*.py")}
    assert names == modules | {
        "gunicorn_autoconf/py.typed",
        f"{info}/METADATA",
        f"{info}/RECORD",
        f"{info}/WHEEL",
        f"{info}/entry_points.txt",
        f"{info}/licenses/LICENSE",
    }
    assert "\nLicense-Expression: MIT\n" in metadata
    assert "\n# gunicorn-autoconf\n" in metadata
    # PyPI shows the README without the repository around it.
    links = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)", metadata)
    assert len(links) > 10
    assert [link for link in map("".join, links) if not link.startswith(("https://", "#"))] == []
    assert "](https://gunicorn-autoconf.readthedocs.io/en/latest/how-to/size.html)" in metadata
    assert "/blob/main/CONTRIBUTING.md)" in metadata
    assert (
        "](https://raw.githubusercontent.com/gunicorn-autoconf/gunicorn-autoconf/main/docs/top.svg)"
        in metadata
    )
    assert "gunicorn-autoconf = gunicorn_autoconf.cli.main:main" in entry_points


def test_source_distribution(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    # What it takes to build, test and document; nothing that a run leaves behind.
    assert {
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "docs/conf.py",
        "gunicorn_autoconf/py.typed",
        "noxfile.py",
        "pyproject.toml",
        "tests/roots/docker-v2/expected.json",
        "tests/project/test_package.py",
    } <= names
    assert [name for name in names if re.match(r"\.(ci|nox|venv|git)/|.*__pycache__", name)] == []


def test_version_of_module(tmp_path: Path) -> None:
    output = run(sys.executable, "-m", "gunicorn_autoconf", "--version", folder=tmp_path)

    assert output == f"python -m gunicorn_autoconf, version {gunicorn_autoconf.__version__}\n"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["explain"]])
def test_command(arguments: list[str], tmp_path: Path) -> None:
    command = Path(sysconfig.get_path("scripts")) / "gunicorn-autoconf"
    if not command.exists():
        pytest.skip("the package is not installed, only found")

    assert run(str(command), *arguments, folder=tmp_path) != ""


def test_windows_gets_one_line_and_no_uvloop() -> None:
    """There uvloop cannot be built; the package installs there, but Gunicorn does not run."""
    platform = {"sys_platform": "win32", "platform_python_implementation": "CPython"}
    needed = [Requirement(line) for line in requires("gunicorn-autoconf") or ()]
    there = {r.name for r in needed if not r.marker or r.marker.evaluate({**platform, "extra": ""})}
    assert "gunicorn" in there
    assert "uvloop" not in there

    code = "import sys; sys.platform = 'win32'; import gunicorn_autoconf.cli.main"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        "ImportError: Gunicorn does not run on Windows: use WSL or Docker, or "
    )
