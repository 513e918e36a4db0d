"""What was found, declared and planned for one server, as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan, Remark, Severity, warnings_of


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The plan for one server and all that it rests on; `Autoconf` says what each part is."""

    machine: Machine
    declaration: Declaration
    application: Finding | None
    plan: Plan
    root: str
    environ: Mapping[str, str] = field(repr=False)  # It may hold secrets of other programs.

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """Everything that the operator should know."""
        unread = (f"{problem.path}: {problem.message}" for problem in self.machine.problems)
        return (
            *(Remark("declaration", Severity.PROBLEM, text) for text in self.declaration.warnings),
            *(Remark("machine", Severity.PROBLEM, text) for text in unread),
            *self.plan.remarks,
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """The remarks that are more than advice, one sentence each."""
        return warnings_of(self.remarks)
