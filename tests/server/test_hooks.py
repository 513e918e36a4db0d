"""The hooks beside a user's own, and in processes where they are not expected."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gunicorn.config import Config
from gunicorn.workers.sync import SyncWorker
from uvicorn_worker import UvicornWorker as StockUvicornWorker

from gunicorn_autoconf import compose
from gunicorn_autoconf.server.hooks import ServerHooks, _replaced
from gunicorn_autoconf.workers import UvicornWorker

NOBODY: Any = None


def own(server: object, worker: object) -> None:
    """A user's hook."""


def server_with(*instances: ServerHooks, **hooks: Any) -> Any:
    """An arbiter with the hooks of *instances*, the last one's on top, and with others."""
    cfg = Config()
    for instance in instances:
        for name, hook in instance.by_name().items():
            cfg.set(name, hook)
    for name, hook in hooks.items():
        cfg.set(name, hook)
    return SimpleNamespace(cfg=cfg, WORKERS={}, worker_class=SyncWorker)


class TestReplaced:
    """Which of the hooks that the guard relies on are not run."""

    def test_none(self) -> None:
        assert _replaced(server_with(ServerHooks(NOBODY))) == []

    def test_all(self) -> None:
        assert _replaced(server_with()) == [
            "on_reload",
            "pre_fork",
            "post_worker_init",
            "nworkers_changed",
            "child_exit",
        ]

    @pytest.mark.parametrize(
        ("name", "replaced"),
        [
            ("child_exit", ["child_exit"]),
            ("pre_fork", ["pre_fork"]),
            ("worker_exit", []),
            ("post_fork", []),
        ],
    )
    def test_a_hook_of_the_users_own(self, name: str, replaced: list[str]) -> None:
        assert _replaced(server_with(ServerHooks(NOBODY), **{name: own})) == replaced

    def test_both_by_compose(self) -> None:
        hooks = ServerHooks(NOBODY)
        assert _replaced(server_with(hooks, child_exit=compose(own, hooks.child_exit))) == []

    def test_another_hook_of_ours(self) -> None:
        hooks = ServerHooks(NOBODY)
        assert _replaced(server_with(hooks, child_exit=hooks.pre_fork)) == ["child_exit"]

    def test_after_a_reload(self) -> None:
        """It brings the hooks of another instance."""
        assert _replaced(server_with(ServerHooks(NOBODY), ServerHooks(NOBODY))) == []

    def test_is_an_event_with_the_names(self, caplog: pytest.LogCaptureFixture) -> None:
        hooks = ServerHooks(NOBODY)
        server = server_with(hooks, pre_fork=own, child_exit=own)
        state = SimpleNamespace(replaced=())
        server.log = logging.getLogger("arbiter")
        for _ in range(2):
            hooks._log_replaced(server, cast("Any", state))

        (record,) = caplog.records
        assert record.__dict__["event_name"] == "hooks_replaced"
        assert record.__dict__["hooks"] == ["pre_fork", "child_exit"]


class Ends:
    """In the place of the state of an arbiter: whether a worker would have told its end."""

    def __init__(self) -> None:
        self.told: list[bool] = []

    def ended(self, server: object, worker: object, *, reports_end: bool) -> None:
        self.told.append(reports_end)


@pytest.mark.parametrize(
    ("worker_class", "reports_end"),
    [(SyncWorker, True), (UvicornWorker, True), (StockUvicornWorker, False)],
)
def test_which_classes_tell_their_end(worker_class: type, reports_end: bool) -> None:
    """Uvicorn's own worker skips `worker_exit` when it is told to end."""
    hooks, ends = ServerHooks(NOBODY), Ends()
    server = server_with(hooks)
    server.worker_class, server.gunicorn_autoconf = worker_class, ends
    hooks.child_exit(server, SimpleNamespace(pid=11))
    assert ends.told == [reports_end]


@pytest.mark.parametrize("is_worker", [True, False])
def test_arbiter_does_not_tell_its_own_memory_for_a_worker_that_is_gone(is_worker: bool) -> None:
    hooks = ServerHooks(NOBODY)
    told: list[int] = []
    state: Any = SimpleNamespace(exiting=lambda worker: told.append(worker.pid))
    hooks._state = state
    pid = os.getpid() if is_worker else os.getpid() + 1
    hooks.worker_exit(server_with(hooks), SimpleNamespace(pid=pid))
    assert told == ([pid] if is_worker else [])


def test_nothing_is_raised_where_nothing_can_be_logged() -> None:
    """
    As where Gunicorn 23 reaps while its own line waits for a slow stderr.

    Python refuses to write in the middle of a write: RuntimeError, reentrant call.
    """

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    hooks = ServerHooks(NOBODY)
    server = server_with(hooks)
    server.log = SimpleNamespace(exception=refuse, info=refuse)
    server.gunicorn_autoconf = SimpleNamespace(ended=refuse)
    hooks.child_exit(server, SimpleNamespace(pid=11))
