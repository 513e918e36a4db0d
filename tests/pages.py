"""The pages of this repository, README, CONTRIBUTING and docs/, and their code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[1]
PAGES = [
    TOP / "README.md",
    TOP / "CONTRIBUTING.md",
    TOP / "examples" / "README.md",
    *sorted(
        path
        for path in (TOP / "docs").rglob("*.md")
        if not {"_build", "_generated"} & set(path.parts)
    ),
]


@dataclass(frozen=True)
class Block:
    """A fenced block and the comment on the line before it."""

    place: str
    language: str
    comment: str | None
    text: str

    def __str__(self) -> str:
        return self.place


def blocks_of(text: str, name: str) -> Iterator[Block]:
    """Each fenced block in a page; Sphinx's directives, ``{include}`` and the like, are none."""
    comment = None
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if fence := re.fullmatch(r" *(`{3,})(\S*).*", line):
            body = []
            for _, inner in lines:
                if inner.strip() == fence[1]:
                    break
                body.append(inner)
            if not fence[2].startswith("{"):
                content = "".join(f"{row}\n" for row in body)
                yield Block(f"{name}:{number}", fence[2], comment, content)
        found = re.fullmatch(r" *<!-- (.+) -->", line)
        comment = found[1] if found else None


BLOCKS = [
    block
    for page in PAGES
    for block in blocks_of(page.read_text(encoding="utf-8"), str(page.relative_to(TOP)))
]


def chosen(*languages: str, comment: str | None = None) -> list[Block]:
    """The blocks in one of *languages*, any where none is named, with a *comment*."""
    return [
        block
        for block in BLOCKS
        if (not languages or block.language in languages)
        and (comment is None or (block.comment or "").partition(":")[0] == comment)
    ]
