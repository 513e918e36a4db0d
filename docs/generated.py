"""Writes what the documentation takes from the code: texts and pictures for its pages."""

from __future__ import annotations

from pathlib import Path

import descriptions
import pictures
import tables

from gunicorn_autoconf.cli.main import main

GENERATED = Path(__file__).parent / "reference" / "_generated"


def write_generated() -> None:
    """Write all of it to where the pages include it from."""
    GENERATED.mkdir(exist_ok=True)
    functions = (
        tables.variables,
        tables.gunicorns_variables,
        tables.aliases,
        tables.elsewhere,
        tables.flags,
        tables.workloads,
        tables.platforms,
        tables.ignored,
        tables.metrics,
        tables.planned,
        tables.hooks,
        tables.untouched,
        descriptions.changes,
        descriptions.modules,
    )
    texts = {function.__name__: function() for function in functions}
    texts |= {f"command-{name}": descriptions.command(name) for name in main.commands}
    for name in ("explain", "running", "size", "top", "tune"):
        texts[f"{name}-json"] = descriptions.json_fields(f"{name}.schema.json")
    files = {f"{name}.md": text for name, text in texts.items()} | {
        "top.svg": pictures.top(),
        "explain.svg": pictures.explain(),
    }
    for name, text in files.items():
        path = GENERATED / name
        # An unchanged file keeps its time, so that Sphinx need not read its page again.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
