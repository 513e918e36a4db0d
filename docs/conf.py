"""Sphinx configuration. What is generated from the code's own tables is made in generated.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

DOCS = Path(__file__).parent
ROOT = DOCS.parent
# The pages are about this tree, not about what may be installed.
sys.path[:0] = [str(ROOT), str(DOCS)]

from generated import write_generated  # noqa: E402

import gunicorn_autoconf  # noqa: E402

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "gunicorn-autoconf"
author = "The gunicorn-autoconf developers"
project_copyright = f"2026, {author}"
release = version = gunicorn_autoconf.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "reference/_generated"]
html_theme = "furo"
html_title = f"{project} {release}"
html_logo = html_favicon = "logo.svg"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_theme_options = {
    "source_repository": "https://github.com/gunicorn-autoconf/gunicorn-autoconf/",
    "source_branch": "main",
    "source_directory": "docs/",
}
# Copied are commands, without the prompt and without what they print.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
# No buttons where there is nothing to paste: lines of a log, formulas, reports.
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"

nitpicky = True
# Names of the standard library, whose own pages are out of reach of a build without a network.
nitpick_ignore_regex = [("py:.*", r"(collections|enum|pathlib|typing|wsgiref)\..*|Any|Enum")]

# In our docstrings `x` is code, as it is in Markdown.
default_role = "code"
autodoc_class_signature = "separated"  # Values are returned, not made by the reader.
autodoc_default_options = {"exclude-members": "__init__, __new__"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_custom_sections = ["Source"]
napoleon_numpy_docstring = False

myst_heading_anchors = 3


def from_the_root(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    """Turn the links in a page of the repository's root into links from a page in docs/."""

    def relative(link: re.Match[str]) -> str:
        target = link[1]
        if not (ROOT / target).exists():
            return link[0]
        if target.startswith("docs/"):
            return f"]({target.removeprefix('docs/')}"
        page = target.lower()  # contributing.md is CONTRIBUTING.md.
        return f"]({page if (DOCS / page).exists() else f'../{target}'}"

    if (ROOT / path.name).exists():
        content[0] = re.sub(r"\]\(([\w./-]+)", relative, content[0])


def keep_sentence(  # noqa: PLR0913, PLR0917 - as Sphinx calls it
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Keep napoleon from reading "this: that" in a property's first line as a type."""
    if what == "property":
        lines[:0] = ["..", ""]  # An empty comment.


def link_by_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Link a class that an annotation names without its module."""
    domain = env.domains.python_domain
    for name, entry in domain.objects.items():
        if entry.objtype == "class" and name.rpartition(".")[2] == node["reftarget"]:
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, "class", name, node, content
            )
    return None


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", lambda app: write_generated())
    app.connect("include-read", from_the_root)
    app.connect("autodoc-process-docstring", keep_sentence, priority=400)  # napoleon has 500.
    app.connect("missing-reference", link_by_name)
