"""`compose`: several hooks as one that Gunicorn takes."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest
from gunicorn.config import Config

from gunicorn_autoconf import compose


class Calls(list[tuple[Any, ...]]):
    """Hooks of every arity that note how they were called."""

    def one(self, server: object) -> str:
        self.append(("one", server))
        return "one"

    def two(self, server: object, worker: object) -> str:
        self.append(("two", server, worker))
        return "two"

    def four(self, worker: object, request: object, environ: object, response: object) -> str:
        self.append(("four", worker, request, environ, response))
        return "four"

    def any_number(self, *args: object) -> str:
        self.append(("any_number", *args))
        return "any_number"


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_calls_each_in_turn_and_returns_what_the_last_returned(calls: Calls) -> None:
    def last(server: object, worker: object) -> str:
        calls.append(("last", server, worker))
        return "end"

    assert compose(calls.two, last)("server", "worker") == "end"
    assert calls == [("two", "server", "worker"), ("last", "server", "worker")]


def test_a_single_hook(calls: Calls) -> None:
    assert compose(calls.one)("server") == "one"
    assert calls == [("one", "server")]


@pytest.mark.parametrize("reverse", [False, True])
def test_each_gets_as_many_arguments_as_it_takes(calls: Calls, reverse: bool) -> None:
    hooks = [calls.two, calls.four]
    compose(*(reversed(hooks) if reverse else hooks))("worker", "request", "environ", "response")
    assert sorted(calls) == [
        ("four", "worker", "request", "environ", "response"),
        ("two", "worker", "request"),
    ]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_hook_that_takes_any_number_gets_all(calls: Calls, reverse: bool) -> None:
    hooks = [calls.two, calls.any_number]
    composed = compose(*(reversed(hooks) if reverse else hooks))
    composed("server", "worker")
    assert sorted(calls) == [("any_number", "server", "worker"), ("two", "server", "worker")]
    Config().set("post_fork", composed)


def test_an_exception_ends_the_row(calls: Calls) -> None:
    def fails(server: object) -> None:
        raise RuntimeError(str(server))

    with pytest.raises(RuntimeError, match="server"):
        compose(fails, calls.one)("server")
    assert calls == []


@pytest.mark.parametrize(
    ("setting", "arity"),
    [
        ("on_starting", 1),
        ("post_fork", 2),
        ("pre_request", 2),
        ("post_request", 4),
        ("nworkers_changed", 3),
    ],
)
def test_gunicorn_takes_the_result(setting: str, arity: int) -> None:
    """Gunicorn counts the parameters and prints the name, which a partial lacks."""
    seen: list[tuple[object, ...]] = []
    hooks: dict[int, Any] = {
        1: lambda a: seen.append((a,)),
        2: lambda a, b: seen.append((a, b)),
        3: lambda a, b, c: seen.append((a, b, c)),
        4: lambda a, b, c, d: seen.append((a, b, c, d)),
    }
    composed = compose(hooks[arity], hooks[arity])
    config = Config()

    config.set(setting, composed)
    config.settings[setting].get()(*range(arity))

    assert seen == [tuple(range(arity))] * 2
    assert inspect.isfunction(composed)
    assert composed.__qualname__
    assert setting in str(config)


def test_callables_of_every_kind(calls: Calls) -> None:
    class Hook:
        def __call__(self, server: object) -> None:
            calls.append(("object", server))

    @functools.wraps(calls.one)
    def wrapped(*args: object) -> object:
        return calls.one(*args)

    partial = functools.partial(calls.two, "first")
    compose(Hook(), wrapped, partial, calls.one)("server")

    assert calls == [
        ("object", "server"),
        ("one", "server"),
        ("two", "first", "server"),
        ("one", "server"),
    ]


def test_a_composition_may_be_composed_again(calls: Calls) -> None:
    composed = compose(compose(calls.two, calls.one), calls.one)
    composed("server", "worker")
    assert [call[0] for call in calls] == ["two", "one", "one"]
    Config().set("post_fork", composed)


def test_nothing_to_compose() -> None:
    with pytest.raises(TypeError, match="at least one hook"):
        compose()


@pytest.mark.parametrize("wrong", [None, "module.hook", 3])
def test_only_functions_can_be_composed(calls: Calls, wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes functions, not"):
        compose(calls.one, wrong)
