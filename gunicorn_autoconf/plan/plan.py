"""The plan as a value: settings with their reasons, and the ways a step adds to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.budget import MemoryBudget
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.workload import Shape, Workload
from gunicorn_autoconf.worker_classes import UVICORN, Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """
    Why a setting has its value.

    Attributes:
        setting: Gunicorn's name of it.
        value: What was chosen.
        rule: The rule in words or as a formula over *inputs*.
        inputs: The numbers that the rule was applied to.
        source: Where they come from: a file, a variable, an option.
    """

    setting: str
    value: Any
    rule: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    The settings, each with the reasons that led to it.

    Attributes:
        workload: As declared, or ``mixed``.
        interface: What the application is taken to speak.
        interface_evidence: What showed it.
        reasons: Every choice in the order in which it was made; the last one for a setting holds.
        warnings: What the operator should know, one sentence each.
        memory: The budget that the count was fitted to, or None where no memory size is known.
        most_workers: The count that the guard may come to. Threads are planned once and stay, for
            the workers that are added as well.
    """

    workload: Workload
    interface: Interface
    interface_evidence: str
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[str, ...] = ()
    memory: MemoryBudget | None = None
    most_workers: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """Gunicorn's settings by name."""
        return {reason.setting: reason.value for reason in self.reasons}

    def reasons_for(self, setting: str) -> tuple[Reason, ...]:
        """The reasons for *setting*, the one that holds last."""
        return tuple(reason for reason in self.reasons if reason.setting == setting)


class Given(NamedTuple):
    """What every step of the plan may look at."""

    machine: Machine
    declaration: Declaration
    application: Finding | None
    shape: Shape
    cores: float
    cores_source: str
    http_parser: str

    @property
    def plans_pools(self) -> bool:
        """Whether the threads that are to be planned are those of an event loop's pools."""
        planned = self.declaration.explicit("threads") is None
        return planned and self.shape.worker_class == UVICORN and self.shape.threads > 1


def choose(
    result: Plan, setting: str, value: Any, rule: str, *, source: str = "", **inputs: Any
) -> Plan:
    """Return *result* with one more choice."""
    reason = Reason(setting=setting, value=value, rule=rule, inputs=inputs, source=source)
    return replace(result, reasons=(*result.reasons, reason))


def warn(result: Plan, warning: str) -> Plan:
    """Return *result* with one more warning."""
    return replace(result, warnings=(*result.warnings, warning))


def obey(result: Plan, given: Given, setting: str) -> Plan:
    """Set *setting* to what the operator wants, where something is wanted."""
    explicit = given.declaration.explicit(setting)
    if explicit is None:
        return result
    inputs = {}
    if setting in result.settings:
        inputs["planned"] = result.settings[setting]
    weaker = given.declaration.settings[setting][1:]
    inputs.update({other.source: other.value for other in weaker})
    return choose(result, setting, explicit.value, "set", source=explicit.source, **inputs)
