"""
A user's typed code, as mypy and pyright must both understand it.

Nothing here is run: what it says is checked by ``nox -s types``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf import (
    Autoconf,
    AutoconfError,
    Declaration,
    DeclarationError,
    Finding,
    Interface,
    Machine,
    Plan,
    Reason,
    Workload,
    autoconf,
    compose,
    detect_machine,
    plan,
    read_declaration,
)

if TYPE_CHECKING:
    from typing_extensions import assert_type  # noqa: TC004 - nothing here is run


def configure() -> dict[str, Any]:
    found = autoconf(workload="io", cpus=1.5, memory="512MiB", max_workers=4, environ={}, argv=[])
    assert_type(found, Autoconf)
    assert_type(found.plan, Plan)
    assert_type(found.application, Finding | None)
    assert_type(found.warnings, tuple[str, ...])
    assert_type(found.settings, dict[str, Any])
    return found.settings


def what_if() -> Plan:
    machine = detect_machine("/srv/root", environ={"DYNO": "web.1"})
    assert_type(machine, Machine)
    assert_type(machine.cpu.cores, float)
    assert_type(machine.memory.own_bytes, int)
    assert_type([problem.message for problem in machine.problems], list[str])
    declaration = read_declaration({"GUNICORN_WORKLOAD": "cpu"})
    assert_type(declaration, Declaration)
    assert_type(declaration.workload, Workload | None)
    planned = plan(machine, declaration, worker_memory_bytes=64 * 1024**2)
    assert_type(planned, Plan)
    assert_type(planned.interface, Interface)
    assert_type(planned.reasons, tuple[Reason, ...])
    return planned


def reported(error: AutoconfError) -> str:
    return str(error)


def refused() -> tuple[str, str, str]:
    try:
        autoconf(workload=Workload.CPU, interface=Interface.ASGI)
    except DeclarationError as error:
        reported(error)
        return error.name, error.value, error.remedy
    return "", "", ""


def hooks() -> Callable[..., Any]:
    def when_ready(server: object) -> None: ...

    return compose(configure()["when_ready"], when_ready)
