"""What is checked: ``nox`` runs all of it but coverage, ``nox -s lint`` one part."""

from __future__ import annotations

import shutil

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
# What is not installed is skipped, in CI too: a run says what holds on the machine it runs on.
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "docs", "tests", "versions"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)

# Without those that take long or make cgroups; the README's command runs them all.
QUICK = ("-n", "4", "-m", "not slow and not cgroup")
# What differs from one Python to the next: all that needs no server, and a few that do.
WATCHDOG, MEMORY = (
    "--ignore=tests/server/test_server_watchdog.py",
    "--ignore=tests/server/test_server_memory.py",
)
UVICORN, SIGNALS = (
    "--ignore=tests/server/test_server_uvicorn.py",
    "--ignore=tests/server/test_server_signals.py",
)
TOP, PASTE = "--ignore=tests/cli/test_server_top.py", "--ignore=tests/cli/test_server_paste.py"
# Pages and examples say the same everywhere; simulations and measurements take their time.
DOCS, EXAMPLES = "--ignore=tests/project/test_docs.py", "--ignore=tests/project/test_examples.py"
SIMULATION, HOSTILE = (
    "--ignore=tests/memory/test_guard_simulation.py",
    "--ignore=tests/app/test_hostile.py",
)
COMPARE, TRUST = (
    "--ignore=tests/project/test_compare.py",
    "--ignore=tests/server/test_server_least_trust.py",
)
NOT_ON_EACH = (WATCHDOG, MEMORY, UVICORN, SIGNALS, TOP, PASTE, TRUST, DOCS, EXAMPLES)
EACH_PYTHON = ("tests", *QUICK, *NOT_ON_EACH, SIMULATION, HOSTILE, COMPARE)
# What differs from one Gunicorn or Uvicorn to the next.
ONLY_SERVERS = ("-n", "4", "-m", "server and not slow and not cgroup")
SERVERS = ("tests", *ONLY_SERVERS, WATCHDOG, MEMORY, TOP, TRUST, DOCS, EXAMPLES)
CROSS = (
    "tests/server/test_server_frameworks.py",
    "tests/plan/test_ignored.py",
    "tests/server/test_gunicorn_settings.py",
    *QUICK,
)

# The oldest that pyproject.toml allows with the newest there is; newest with newest is what every
# other session has.
OLDEST_GUNICORN, OLDEST_UVICORN = "gunicorn==23.0.0", "uvicorn==0.36.0"
VERSIONS = [
    nox.param(OLDEST_GUNICORN, OLDEST_UVICORN, SERVERS, id="oldest"),
    nox.param(OLDEST_GUNICORN, "uvicorn", (), id="oldest-gunicorn"),
    nox.param("gunicorn", OLDEST_UVICORN, (), id="oldest-uvicorn"),
]


@nox.session
def lint(session: nox.Session) -> None:
    """Check rules, format and the changelog's fragments."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("towncrier", "build", "--draft", "--version=next", silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install(".[docs,test]", *nox.project.dependency_groups(PROJECT, "types"))
    session.run("mypy")
    session.run(
        "basedpyright", "--pythonpath", shutil.which("python", path=session.bin) or "python"
    )


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; every warning is an error."""
    session.install(".[docs]")
    session.run("sphinx-build", "-E", "-n", "-W", "--keep-going", "-q", "docs", "docs/_build/html")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the quick tests on each Python that is present, against the built wheel."""
    session.install(".[test]")
    session.run("pytest", *(session.posargs or EACH_PYTHON))


@nox.session
@nox.parametrize(("gunicorn", "uvicorn", "more"), VERSIONS)
def versions(session: nox.Session, gunicorn: str, uvicorn: str, more: tuple[str, ...]) -> None:
    """Run the quick tests on the oldest Gunicorn and Uvicorn that are supported."""
    session.install(".[test]", gunicorn, uvicorn)
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("pytest", *CROSS)
    if more:
        session.run("pytest", *more)


@nox.session
def coverage(session: nox.Session) -> None:
    """Show the lines that no test reaches, those that only workers run included."""
    session.install("-e", ".[test]", "coverage>=7.10")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")
