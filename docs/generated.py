"""What the documentation says from the code's own tables: texts and pictures for its pages."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import pictures
from elsewhere import ELSEWHERE
from gunicorn.config import KNOWN_SETTINGS

import gunicorn_autoconf
from gunicorn_autoconf.cli.main import main
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

DOCS = Path(__file__).parent
ROOT = DOCS.parent
GENERATED = DOCS / "reference" / "_generated"
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


def changes() -> str:
    """Return the changelog, below what the next release will say as far as there is anything."""
    kinds = ("added", "changed", "fixed", "removed")  # As in pyproject.toml.
    parts = []
    for kind in kinds:
        fragments = sorted((ROOT / "changelog.d").glob(f"*.{kind}.md"))
        entries = [f"- {path.read_text(encoding='utf-8').strip()}" for path in fragments]
        if entries:
            parts.append("\n".join([f"### {kind.capitalize()}", "", *entries, ""]))
    head, marker, released = (
        (ROOT / "CHANGELOG.md")
        .read_text(encoding="utf-8")
        .partition("<!-- towncrier release notes start -->\n")
    )
    assert marker, "CHANGELOG.md has lost the line at which towncrier adds a release"
    coming = ["## Not yet released\n", *parts] if parts else []
    return "\n".join([head, *coming, released])


def modules() -> str:
    """Return a table of modules for each folder of the package, under what the folder is for."""
    package = ROOT / "gunicorn_autoconf"
    inits = [path for path in package.rglob("__init__.py") if path.parent != package]
    top = _modules_of(package, "The top: what you import, and what every folder uses.")
    return "\n".join([top, *(_modules_of(i.parent, _introduction(i)) for i in sorted(inits))])


def _modules_of(folder: Path, title: str) -> str:
    package = ROOT / "gunicorn_autoconf"
    rows = [
        (f"`{path.name}`", _introduction(path))
        for path in sorted(folder.glob("*.py"))
        if path.name != "__init__.py"
    ]
    name = folder.relative_to(package.parent).as_posix()
    return f"### `{name}/`\n\n{title}\n\n" + (
        table(("Module", "What it does"), rows) if rows else ""
    )


def _introduction(path: Path) -> str:
    """Return the sentence by which a module introduces itself."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].replace("``", "`").split())


def command(name: str) -> str:
    """Return what the command *name* says of itself."""
    described = main.commands[name]
    context = click.Context(described, info_name=f"gunicorn-autoconf {name}")
    usage = described.get_usage(context).removeprefix("Usage: ")
    rows = (
        (", ".join(f"`{flag}`" for flag in option.opts), _meaning(option))
        for option in described.params
        if isinstance(option, click.Option)
    )
    paragraphs = inspect.cleandoc(described.help or "").split("\n\n")
    description = "\n\n".join(map(_paragraph, paragraphs))
    return f"`{usage}`\n\n{description}\n\n{table(('Option', 'Meaning'), rows)}"


def _paragraph(text: str) -> str:
    """Return a paragraph of a help; where click must not wrap, all but the first line is code."""
    if not text.startswith("\b\n"):
        return text
    first, _, code = text.removeprefix("\b\n").partition("\n")
    return f"{first}\n\n```text\n{inspect.cleandoc(chr(10) + code)}\n```"


def _meaning(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return f"{option.help} One of {', '.join(f'`{choice}`' for choice in option.type.choices)}."
    return option.help or ""


def json_fields(name: str) -> str:
    """Return the table of what the schema *name* describes."""
    schema = json.loads((DOCS / "reference" / name).read_text(encoding="utf-8"))
    return table(("Name", "Meaning"), _fields(schema, schema.get("$defs", {}), ""))


def _fields(schema: Any, shared: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Each named field below *schema*, what is shared where it is used."""
    for part in (schema, *schema.get("anyOf", ())):
        if "$ref" in part:
            yield from _fields(shared[part["$ref"].rpartition("/")[2]], shared, prefix)
        for name, field in part.get("properties", {}).items():
            path = f"{prefix}{name}"
            yield f"`{path}`", field["description"]
            yield from _fields(field, shared, f"{path}.")
        if "items" in part:
            yield from _fields(part["items"], shared, f"{prefix.removesuffix('.')}[].")
        if "additionalProperties" in part:
            yield from _fields(part["additionalProperties"], shared, f"{prefix}<name>.")


def write_generated() -> None:
    """Write all of it to where the pages include it from."""
    GENERATED.mkdir(exist_ok=True)
    functions = (
        variables,
        gunicorns_variables,
        aliases,
        elsewhere,
        flags,
        workloads,
        platforms,
        ignored,
        metrics,
        planned,
        hooks,
        untouched,
        changes,
        modules,
    )
    texts = {function.__name__: function() for function in functions}
    texts |= {f"command-{name}": command(name) for name in main.commands}
    for name in ("explain", "running", "size", "top", "tune"):
        texts[f"{name}-json"] = json_fields(f"{name}.schema.json")
    files = {f"{name}.md": text for name, text in texts.items()} | {
        "top.svg": pictures.top(),
        "explain.svg": pictures.explain(),
    }
    for name, text in files.items():
        path = GENERATED / name
        # An unchanged file keeps its time, so that Sphinx need not read its page again.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
