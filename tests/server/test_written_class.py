"""A worker class that the installed Gunicorn does not have, however it is written."""

from __future__ import annotations

from typing import Any

import gunicorn
import pytest
from configurations import FILE, OURS, WAYS, Options, Way, folder_of, line, reload, start

from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.server import worker_class

REFUSED = f"worker_class='gthreads': Gunicorn {gunicorn.__version__} has no such worker class"
WRITTEN = {
    name: way for name, way in WAYS.items() if way.source in (FILE, "other.py", "python:own_conf")
}


@pytest.mark.parametrize("way", WRITTEN.values(), ids=WRITTEN)
def test_a_file_is_refused_in_one_line(way: Way, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        folder_of(way, "worker_class", "gthreads", "--worker-class"),
        pytest.raises(SystemExit) as ended,
    ):
        start()

    assert ended.value.code == f"Error: {way.source}: {REFUSED}; did you mean gthread?"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "argv", [("--worker-class=gthread",), ("-k", "gthread")], ids=["long", "short"]
)
def test_an_option_replaces_what_a_file_has_wrong(argv: tuple[str, ...]) -> None:
    way = Way(text=OURS + "worker_class = 'gthreads'", argv=argv)
    with folder_of(way, "worker_class", "", "-k"):
        assert start().cfg.worker_class_str == "gthread"


def test_options_of_ones_own_script_are_named_by_their_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from gunicorn_autoconf import autoconf

    with folder_of(Way(), "worker_class", "", "-k"), pytest.raises(SystemExit):
        start(Options({**autoconf().settings, "worker_class": "gthreads"}))

    said = capsys.readouterr().err.strip()
    assert said.endswith(f"{REFUSED}; did you mean gthread?")
    assert "configurations.py:" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["sync", "gthread", "gevent", "mysite.workers.Worker"])
def test_what_may_be_there_is_taken(name: str) -> None:
    assert worker_class.remedy_for(name) is None


def test_a_class_itself_is_taken() -> None:
    from gunicorn.workers.sync import SyncWorker

    assert worker_class.remedy_for(SyncWorker) is None


def test_a_server_that_reloads_keeps_its_class(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with folder_of(line("worker_class = 'gthread'"), "worker_class", "", "-k") as folder:
        arbiter: Any = start()
        monkeypatch.setattr(worker_class, "running_arbiter", lambda: arbiter)
        (folder / "gunicorn.conf.py").write_text(OURS + "worker_class = 'gthreads'\n")
        reload(arbiter)

        assert arbiter.cfg.worker_class_str == "gthread"
    assert (
        "[ERROR] gunicorn-autoconf keeps the worker class: ./gunicorn.conf.py: "
        f"{REFUSED}; did you mean gthread?\n"
    ) in capsys.readouterr().err


def test_code_that_runs_beside_a_server_gets_an_error() -> None:
    from gunicorn.config import Config

    worker_class.check_what_is_written()
    with pytest.raises(DeclarationError, match="no such worker class; did you mean gthread"):
        Config().set("worker_class", "gthreads")
