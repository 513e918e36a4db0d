"""
The code blocks of README, CONTRIBUTING and docs/ hold what they say.

A ``python`` block is executed by itself, as a doctest where it has prompts. A block of commands or
of output says in a comment on the line before it what is done with it:

    <!-- run -->                        run in an empty folder; ``console`` also compares the output
    <!-- run: FOLDER -->                run in a copy of a folder of this repository
    <!-- explain: ROOT [VAR=VALUE ...] [APP] -->
                                        is what ``gunicorn-autoconf explain`` prints for the machine
                                        in tests/roots/ROOT
    <!-- serve -->                      the README's way to serve: its last command is run
    <!-- serve: FOLDER PATH -->         what it starts in a copy of the folder answers at the path
    <!-- test -->                       the README's way to test: .ci/run runs it
    <!-- step: WHAT -->                 a step of the tutorial: see test_tutorial.py
    <!-- not run: REASON -->            is not run

A block without such a comment fails the tests.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner
from harness import Launcher
from machine_roots import machine_of
from pages import PAGES, TOP, Block, blocks_of, chosen
from patience import stretched

from gunicorn_autoconf.cli.main import main as cli
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.workload import WORKLOADS
from gunicorn_autoconf.server import autoconf

pytestmark = pytest.mark.one_python

# Commands and output; "" is a fence without a language. What is neither needs no comment: a
# Dockerfile, a unit of systemd.
WITH_COMMENT = {"", "bash", "console", "sh", "shell", "text"}
COMMENTS = re.compile(r"run(: \S+)?|serve(: \S+ /\S*)?|test|explain: .+|step: .+|not run: .+")


def test_blocks_are_found() -> None:
    page = "a\n<!-- run -->\n```sh\nb\n```\n\n````text\n```\n````\n```{include} c\n```\n"

    assert list(blocks_of(page, "page")) == [
        Block("page:3", "sh", "run", "b\n"),
        Block("page:7", "text", None, "```\n"),
    ]


@pytest.mark.parametrize("block", chosen(*WITH_COMMENT), ids=str)
def test_block_says_what_is_done_with_it(block: Block) -> None:
    assert COMMENTS.fullmatch(block.comment or ""), f"see {Path(__file__).name}"


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^ *(`{3,}).*?^ *\1$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link may name behind a "#": the headings, as GitHub and Sphinx turn them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", prose(page))
    dead = []
    for target, anchor in links:
        path = page.parent / target if target else page
        # What a build of the documentation makes is not there in a clone.
        made = {"_build", "_generated"} & set(path.parts)
        if made or not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(f"{target}#{anchor}")

    assert dead == []


THREADS = re.compile(
    r"(\d+)\s+threads\s+(?:each\b|a\s+worker\b|with\s+`io`)|workers?\s+of\s+(\d+)\s+threads"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_threads_are_those_of_the_table(page: Path) -> None:
    """What the prose says of the threads of a workload; what it multiplies is not looked at."""
    planned = {shape.threads for shape in WORKLOADS.values()}
    said = {int(first or second) for first, second in THREADS.findall(prose(page))}

    assert said - planned == set()


def test_every_page_is_in_the_index() -> None:
    index = (TOP / "docs" / "index.md").read_text(encoding="utf-8").split()
    pages = [page.relative_to(TOP).with_suffix("").as_posix() for page in PAGES]
    names = [page.removeprefix("docs/") for page in pages if page.startswith("docs/")]

    assert [name for name in names if name not in index] == ["index"]


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("502", "symptoms.md"),
        ("OOMKilled", "symptoms.md"),
        ("WORKER TIMEOUT", "symptoms.md"),
        ("memory leak", "symptoms.md"),
        ("gthread vs sync", "faq.md"),
        ("HPA", "how-to/kubernetes.md"),
        ("harakiri", "how-to/migrate.md"),
        ("X-Request-Start", "how-to/nginx.md"),
    ],
)
def test_search_finds_first(words: str, page: str) -> None:
    """Sphinx ranks an entry of the index above words of a text only where it is a main one."""
    text = (TOP / "docs" / page).read_text(encoding="utf-8")
    entries = ", ".join(re.findall(r"^```{index} (.+)$", text, re.MULTILINE)).split(", ")

    assert f"! {words}" in entries


@pytest.fixture
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and an environment and a command line that declare nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["gunicorn"])
    monkeypatch.delitem(sys.modules, "gunicorn_autoconf.conf", raising=False)
    for name in list(os.environ):
        if name.startswith("GUNICORN_") or name == "WEB_CONCURRENCY":
            monkeypatch.delenv(name)
    return tmp_path


PYTHON = [
    block
    for block in chosen("python")
    if not (block.comment or "").startswith(("not run: ", "step: "))
]


@pytest.mark.parametrize("block", PYTHON, ids=str)
@pytest.mark.usefixtures("quiet_place")
def test_python(block: Block) -> None:
    if ">>>" not in block.text:
        exec(compile(block.text, block.place, "exec"), {"__name__": "example"})
        return
    example = doctest.DocTestParser().get_doctest(block.text, {}, block.place, None, None)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(example).failed == 0


@pytest.mark.parametrize("block", chosen(comment="run"), ids=str)
def test_commands(block: Block, quiet_place: Path) -> None:
    if folder := (block.comment or "").removeprefix("run").removeprefix(": "):
        shutil.copytree(TOP / folder, quiet_place, dirs_exist_ok=True)
    scripts = sysconfig.get_path("scripts")
    environ = os.environ | {"PATH": os.pathsep.join([scripts, os.environ["PATH"]])}
    if block.language == "console":
        # "$ " before a command, what it prints below it.
        rows = re.split(r"^\$ (.+)\n", block.text, flags=re.MULTILINE)
        assert rows[0] == ""
        runs = list(zip(rows[1::2], rows[2::2], strict=True))
    else:
        runs = [(block.text, None)]
    for command, expected in runs:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=quiet_place,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=stretched(60),
            check=False,
        )
        assert result.returncode == 0, result.stdout
        assert expected is None or result.stdout == expected


def explain(words: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``gunicorn-autoconf explain`` prints for the comment ``explain: words``."""
    case, *rest = words.split()

    def detect(root: str, **_: object) -> Machine:
        assert root == "/"
        return machine_of(case)

    monkeypatch.setattr(autoconf, "detect_machine", detect)
    variables = dict(word.split("=", 1) for word in rest if "=" in word)
    application = [word for word in rest if "=" not in word]
    result = CliRunner().invoke(cli, ["explain", *application], env=variables)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("block", chosen(comment="explain"), ids=str)
@pytest.mark.usefixtures("quiet_place")
def test_explanation(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    comment = block.comment or ""

    assert block.text == explain(comment.removeprefix("explain: "), monkeypatch)


def readme_block(comment: str) -> Block:
    blocks = [block for block in chosen(comment=comment) if block.place.startswith("README.md:")]
    assert len(blocks) == 1, f"README.md needs one block after <!-- {comment} -->"
    return blocks[0]


@pytest.mark.server
def test_serve_command_serves(gunicorn: Launcher) -> None:
    program, *arguments = readme_block("serve").text.rpartition("&&")[2].split()
    assert program == ".venv/bin/gunicorn"

    server = gunicorn.start(*arguments, GUNICORN_WORKERS="1")

    # A worker that is still booting would not hear that the server ends.
    server.wait_for_workers(1)
    assert server.get("/").status == 200


SERVING = [block for block in chosen(comment="serve") if block.comment != "serve"]


@pytest.mark.server
@pytest.mark.parametrize("block", SERVING, ids=str)
def test_server_of_a_page_serves(block: Block, gunicorn: Launcher) -> None:
    folder, path = (block.comment or "").removeprefix("serve: ").split()
    shutil.copytree(TOP / folder, gunicorn.folder, dirs_exist_ok=True)
    words = shlex.split(block.text)
    program = words.index("gunicorn")
    environ = dict(word.split("=", 1) for word in words[:program])

    server = gunicorn.start(*words[program + 1 :], **environ, GUNICORN_MAX_WORKERS="1")

    server.wait_for_workers(1)
    assert server.get(path).status == 200


def test_test_command_is_what_ci_runs() -> None:
    runner = TOP / ".ci" / "run"
    if not runner.exists():
        pytest.skip("a source distribution has no .ci")

    assert readme_block("test").text.count("\n") == 1
    assert "readme_block test" in runner.read_text(encoding="utf-8")
