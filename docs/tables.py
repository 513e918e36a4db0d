"""Tables that pages take from the code's own: variables, settings, platforms, metrics."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from elsewhere import ELSEWHERE
from gunicorn.config import KNOWN_SETTINGS

import gunicorn_autoconf
from gunicorn_autoconf.machine.facts import (
    CpuSupply,
    Machine,
    MemorySupply,
    Origin,
)
from gunicorn_autoconf.machine.platforms import PLATFORMS
from gunicorn_autoconf.metrics.table import METRICS
from gunicorn_autoconf.plan.alias_table import ALIASES, Alias
from gunicorn_autoconf.plan.steps import PLANNED_SETTINGS, plan
from gunicorn_autoconf.plan.variables import PREFIX, VARIABLES, WEB_CONCURRENCY
from gunicorn_autoconf.plan.workload import WORKLOADS, Shape, Workload
from gunicorn_autoconf.server.gunicorn import setting_flags
from gunicorn_autoconf.server.hooks import ServerHooks
from gunicorn_autoconf.worker_classes import FAMILIES, Interface, class_name

# GUNICORN_ENV means something else elsewhere, and Gunicorn keeps its process id in GUNICORN_PID.
UNSUGGESTED = {"env", "pid"}


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    cells = [list(header), *map(list, rows)]
    cells.insert(1, ["---"] * len(cells[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def variables() -> str:
    """Return the table of the environment contract."""
    return table(
        ("Variable", "Meaning", "Value", "Unset"),
        (
            (f"`{variable.name}`", variable.meaning, variable.allowed, variable.default)
            for variable in VARIABLES
        ),
    )


def gunicorns_variables() -> str:
    """Return the table of the variables that set one of Gunicorn's settings."""
    count = WEB_CONCURRENCY
    return table(
        ("Variable", "Meaning", "Value", "Unset"),
        (
            (
                f"`{PREFIX}<SETTING>`",
                "any setting that the installed Gunicorn knows, such as `GUNICORN_TIMEOUT`",
                "what Gunicorn's own validator takes",
                "the plan, or Gunicorn's default",
            ),
            (f"`{count.keyword.upper()}`", count.meaning, count.allowed, count.default),
        ),
    )


def aliases() -> str:
    """Return the table of what other images call the variables, by what to set instead."""

    def instead(alias: Alias) -> str:
        return f"`{alias.instead}`" if alias.variable else f"none: {alias.note}"

    rows = sorted(ALIASES, key=lambda alias: (not alias.variable, alias.instead, alias.name))
    return table(
        ("Elsewhere", "Here", "Seen in"),
        ((f"`{PREFIX}{row.name}`", instead(row), _repository(row.seen)) for row in rows),
    )


def elsewhere() -> str:
    """Return the table of variables without our prefix, by the start script that reads them."""
    return table(
        ("Elsewhere", "Here", "Read by"),
        (
            (f"`{name}`", here, _repository(script.seen))
            for script in ELSEWHERE
            for name, here in script.here.items()
        ),
    )


def _repository(seen: str) -> str:
    """Return a link to the file where a name was seen; "-" where only its text was."""
    repository, _, path = seen.partition(":")
    return f"[{repository}](https://github.com/{repository}/blob/HEAD/{path})" if seen else "-"


def flags() -> str:
    """Return the table of Gunicorn's flags of which the setting has another name."""
    variables = {alias.name for alias in ALIASES}
    named = sorted(
        (flag, name)
        for flag, name in setting_flags().items()
        if flag.replace("-", "_") != name and flag not in UNSUGGESTED
    )
    return table(
        ("Flag", "Not read", "Here"),
        (
            (f"`--{flag}`", f"`{PREFIX}{unread}`", f"`{PREFIX}{name.upper()}`")
            for flag, name in named
            if (unread := flag.replace("-", "_").upper()) not in variables
        ),
    )


def workloads() -> str:
    """Return the workload table."""

    def cells(shape: Shape) -> tuple[str, str, str]:
        workers = f"`{shape.workers.formula}`"
        if shape.threads > 1:
            workers += f", {shape.threads} threads each"
        why = "; ".join(filter(None, (shape.why, shape.threads_why)))
        return f"`{shape.worker_class}`", workers, why

    rows: list[tuple[str, Interface, Shape]] = [
        (f"`{workload.value}`", interface, shape)
        for (workload, interface), shape in WORKLOADS.items()
    ]
    return table(
        ("Workload", "Application", "Worker class", "Workers for *c* cores", "Why"),
        ((name, interface.value.upper(), *cells(shape)) for name, interface, shape in rows),
    )


def platforms() -> str:
    """Return the table of the platforms."""
    return table(
        ("Platform", "Name", "Known by", "SIGKILL after", "Changed by", "Source"),
        (
            (
                row.title,
                f"`{row.name}`",
                " or ".join(f"`{variable}`" for variable in row.variables),
                f"{row.grace_seconds} s",
                row.grace_setting or "nothing",
                row.source,
            )
            for row in PLATFORMS
        ),
    )


def ignored() -> str:
    """Return the table of settings without effect."""
    return table(
        ("Worker class", "Settings", "Why"),
        (
            (f"`{family.name}`", ", ".join(f"`{name}`" for name in row.settings), row.why)
            for family in FAMILIES.values()
            for row in family.ignored
        ),
    )


def metrics() -> str:
    """Return the table of what Prometheus gets."""
    return table(
        ("Metric", "Type", "Labels", "Meaning"),
        (
            (
                f"`{row.full_name}`",
                row.kind.value,
                ", ".join(f"`{label}`" for label in row.labels),
                row.meaning,
            )
            for row in METRICS
        ),
    )


def planned() -> str:
    """Return the table of the settings that the plan chooses, as it does for a host of 2 cores."""
    machine = Machine(
        cpu=CpuSupply(affinity=2, affinity_origin=Origin(path="", text=""), online=2),
        memory=MemorySupply(physical=None),
        worker_tmp_dir="/dev/shm",  # noqa: S108 - the place, not a file in it
    )
    declared = [
        gunicorn_autoconf.read_declaration(
            {"GUNICORN_WORKLOAD": workload.value, "GUNICORN_INTERFACE": interface.value}
        )
        for workload in Workload
        for interface in Interface
    ]
    plans = [plan(machine, declaration).settings for declaration in declared]
    defaults = {setting.name: setting.default for setting in KNOWN_SETTINGS}

    def row(name: str) -> tuple[str, ...]:
        # In the order of the table of workloads, each value once.
        shown = class_name if name == "worker_class" else str
        values = dict.fromkeys(shown(each[name]) for each in plans if name in each)
        return f"`{name}`", ", ".join(f"`{value}`" for value in values), f"`{defaults[name]}`"

    return table(
        ("Setting", "Planned for 2 cores, by workload", "Gunicorn's default"),
        map(row, PLANNED_SETTINGS),
    )


def hooks() -> str:
    """Return the table of Gunicorn's hooks that we use."""
    return table(
        ("Hook", "What ours does"),
        (
            (f"`{name}`", (inspect.getdoc(hook) or "").partition("\n")[0].replace("``", "`"))
            for name, hook in sorted(vars(ServerHooks).items())
            if name in _our_settings()
        ),
    )


def untouched() -> str:
    """Return the table of the settings that stay as Gunicorn or the operator has them."""
    ours = {*PLANNED_SETTINGS, *_our_settings()}
    sections: dict[str, list[str]] = {}
    for setting in KNOWN_SETTINGS:
        if setting.name not in ours:
            sections.setdefault(setting.section, []).append(f"`{setting.name}`")
    return table(
        ("Gunicorn's section", "Settings"),
        ((section, ", ".join(sorted(names))) for section, names in sorted(sections.items())),
    )


def _our_settings() -> dict[str, object]:
    # Their names do not depend on the plan.
    return gunicorn_autoconf.autoconf(environ={}, argv=["gunicorn"]).settings
