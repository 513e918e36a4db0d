"""The applications in ``interfaces``: what is asked of each, and what its header says is true."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gunicorn_autoconf.worker_classes import Interface

CASES = Path(__file__).parent / "interfaces"
HEADER = re.compile(
    r"^(?:#|<!--) target: (.+) -> (asgi|wsgi|neither|unknown)(?: -->)?$", re.MULTILINE
)
EVIDENCE = re.compile(r"^(?:#|<!--) evidence: (.+?)(?: -->)?$", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One folder: what is asked, and what its header says is true."""

    folder: Path
    file: Path
    target: str
    answer: str
    evidence: str

    @property
    def interface(self) -> Interface | None:
        return Interface(self.answer) if self.answer in ("asgi", "wsgi") else None


def read_case(folder: Path) -> Case:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = file.read_text(encoding="latin-1")
        if found := HEADER.search(text):
            told = EVIDENCE.search(text)
            return Case(folder, file, found[1], found[2], told[1] if told else "")
    raise LookupError(f"{folder} has no file with a target")


ALL = [read_case(folder) for folder in sorted(CASES.iterdir())]
BY_NAME = {case.folder.name: case for case in ALL}


def search_path(case: Case) -> list[str]:
    return [str(case.folder), str(case.folder / "site-packages")]
