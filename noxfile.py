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

# Which tests a session runs, by their markers; the README's command runs all.
QUICK = "not slow and not cgroup"
EACH_PYTHON = f"{QUICK} and not one_python"
EACH_GUNICORN = f"{QUICK} and each_gunicorn"
OLDEST = f"{EACH_GUNICORN} and not newer_gunicorn"

# uv leaves it to the first import to compile a module, and the servers of tests never write what
# they compile.
COMPILED = {"UV_COMPILE_BYTECODE": "1"}

# The oldest that pyproject.toml allows with the newest there is; newest with newest is what every
# other session has.
OLDEST_GUNICORN, OLDEST_UVICORN = "gunicorn==23.0.0", "uvicorn==0.36.0"
VERSIONS = [
    nox.param(OLDEST_GUNICORN, OLDEST_UVICORN, OLDEST, id="oldest"),
    nox.param(OLDEST_GUNICORN, "uvicorn", f"{OLDEST} and not one_python", id="oldest-gunicorn"),
    nox.param(
        "gunicorn", OLDEST_UVICORN, f"{EACH_GUNICORN} and not one_python", id="oldest-uvicorn"
    ),
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
    session.install(".[test]", env=COMPILED)
    run_pytest(session, EACH_PYTHON)


@nox.session
@nox.parametrize(("gunicorn", "uvicorn", "markers"), VERSIONS)
def versions(session: nox.Session, gunicorn: str, uvicorn: str, markers: str) -> None:
    """Run the quick tests on the oldest Gunicorn and Uvicorn that are supported."""
    session.install(".[test]", gunicorn, uvicorn, env=COMPILED)
    run_pytest(session, markers)


@nox.session
def coverage(session: nox.Session) -> None:
    """Show the lines that no test reaches, those that only workers run included."""
    session.install("-e", ".[test]", "coverage>=7.10")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


def run_pytest(session: nox.Session, markers: str) -> None:
    """Run what the command line names, or else the tests with these *markers*."""
    session.run("pytest", *(session.posargs or ("tests", "-n", "4", "-m", markers)))
