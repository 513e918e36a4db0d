"""Several hooks as one that Gunicorn takes for a plain function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import chain
from typing import Any

Hook = Callable[..., Any]


def compose(*hooks: Hook) -> Hook:
    """
    Return one hook that calls each of *hooks* in turn and returns what the last one returned.

    The result is a plain function with the arity that Gunicorn asks for. Where the hooks differ
    in arity, as ``post_request`` may, each gets as many arguments as it takes. An exception
    skips the remaining hooks and reaches Gunicorn.

    Raises:
        TypeError: No hook was given, or one is not callable.
    """
    if not hooks:
        raise TypeError("compose() needs at least one hook")
    arities = [_arity(hook) for hook in hooks]

    def composed(*args: Any) -> Any:
        result = None
        for hook, arity in zip(hooks, arities, strict=True):
            result = hook(*args[:arity])
        return result

    # Gunicorn counts the parameters of a hook's signature.
    widest = max(zip(hooks, arities, strict=True), key=lambda pair: pair[1] or 0)[0]
    composed.__signature__ = inspect.signature(widest)  # type: ignore[attr-defined]
    composed.gunicorn_autoconf_parts = tuple(chain.from_iterable(map(parts_of, hooks)))  # type: ignore[attr-defined]
    return composed


def parts_of(hook: Hook) -> tuple[Hook, ...]:
    """The hooks of which `compose` made *hook*; itself where it is one."""
    parts: tuple[Hook, ...] = getattr(hook, "gunicorn_autoconf_parts", (hook,))
    return parts


def _arity(hook: Hook) -> int | None:
    """How many arguments *hook* takes; None where it takes any number."""
    if not callable(hook):
        raise TypeError(f"compose() takes functions, not {hook!r}")
    parameters = inspect.signature(hook).parameters.values()
    return None if any(p.kind is p.VAR_POSITIONAL for p in parameters) else arity_of(hook)


def arity_of(hook: Hook) -> int:
    """How many arguments of *hook* have a name and can be given by position."""
    parameters = inspect.signature(hook).parameters.values()
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
