"""The plan as a value: settings, their reasons, remarks; and how a step adds a choice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple

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
        is_set: Whether the operator set the value. Then *inputs* are the values that it overrides.
        is_memory_cut: Whether the value is as low as it is because memory has no room for more.
        is_need_cut: Whether it is as low as it is because nothing shows a need for more.
    """

    setting: str
    value: Any
    rule: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    is_set: bool = False
    is_memory_cut: bool = False
    is_need_cut: bool = False


class Severity(str, Enum):
    """What a remark asks for: to mend something, to drop a setting, or to consider a change."""

    PROBLEM = "problem"
    WITHOUT_EFFECT = "without-effect"
    ADVICE = "advice"


class Remark(NamedTuple):
    """
    Something that the operator should know.

    Attributes:
        topic: What it is about; a name for programs.
        severity: Problems and settings without effect are warnings; advice is not logged.
        text: One or two sentences.
    """

    topic: str
    severity: Severity
    text: str


def warnings_of(remarks: Iterable[Remark]) -> tuple[str, ...]:
    """Return the texts of *remarks* that are more than advice."""
    return tuple(each.text for each in remarks if each.severity is not Severity.ADVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    The settings, each with the reasons that led to it.

    Attributes:
        workload: As declared, or ``auto``.
        interface: What the application is taken to speak.
        interface_evidence: What showed it.
        reasons: Every choice in the order in which it was made; the last one for a setting holds.
        remarks: What the operator should know: problems, settings without effect, advice.
        memory: The budget that the count was fitted to, or None if no memory size is known.
        most_workers: The count up to which the guard may go. It does not change the threads, so
            they are planned for this count.
    """

    workload: Workload
    interface: Interface
    interface_evidence: str
    reasons: tuple[Reason, ...] = ()
    remarks: tuple[Remark, ...] = ()
    memory: MemoryBudget | None = None
    most_workers: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """Gunicorn's settings by name."""
        return {reason.setting: reason.value for reason in self.reasons}

    @property
    def warnings(self) -> tuple[str, ...]:
        """The remarks that are more than advice, one sentence each."""
        return warnings_of(self.remarks)

    def reasons_for(self, setting: str) -> tuple[Reason, ...]:
        """The reasons for *setting*, the one that holds last."""
        return tuple(reason for reason in self.reasons if reason.setting == setting)


class Given(NamedTuple):
    """
    What every step of the plan may look at.

    Attributes:
        shape: The row of the workload table, adapted to the operator's worker class.
        cores: The cores to plan for.
        cores_source: Where *cores* comes from: a file, a variable, an option.
        load_workers: How many workers the measured load needs; 0 where it is not measured.
    """

    machine: Machine
    declaration: Declaration
    shape: Shape
    cores: float
    cores_source: str
    load_workers: int = 0

    @property
    def plans_pools(self) -> bool:
        """Whether the threads to plan are those of an event loop's pools."""
        planned = self.declaration.explicit("threads") is None
        return planned and self.shape.worker_class == UVICORN and self.shape.threads > 1


def first_choice(plan: Plan, setting: str) -> Any:
    """Return what *setting* was before anything bounded it or the operator set it."""
    return plan.reasons_for(setting)[0].value


def value_before(plan: Plan, reason: Reason) -> Any:
    """Return what the setting of *reason* was before this choice; None for the first one."""
    reasons = plan.reasons_for(reason.setting)
    number = next(number for number, each in enumerate(reasons) if each is reason)
    return reasons[number - 1].value if number else None


def choose(result: Plan, setting: str, value: Any, rule: str, **more: Any) -> Plan:
    """Return *result* with one more choice; *more* are the other fields of its `Reason`."""
    reason = Reason(setting=setting, value=value, rule=rule, **more)
    return replace(result, reasons=(*result.reasons, reason))


def obey(result: Plan, given: Given, setting: str) -> Plan:
    """Return *result* with the value that the operator set, if there is one."""
    explicit = given.declaration.explicit(setting)
    if explicit is None:
        return result
    overridden = {"planned": result.settings[setting]} if setting in result.settings else {}
    weaker = given.declaration.settings[setting][1:]
    overridden.update({other.source: other.value for other in weaker})
    more = {"source": explicit.source, "is_set": True}
    return choose(result, setting, explicit.value, "set", inputs=overridden, **more)
