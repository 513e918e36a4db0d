"""What modules, commands, JSON schemas and the changelog say of themselves, as text for pages."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from tables import table

from gunicorn_autoconf.cli.main import main

DOCS = Path(__file__).parent
ROOT = DOCS.parent


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
