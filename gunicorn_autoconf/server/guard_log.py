"""What the supervisor logs, each thing once. Logs, also to statsd.

Theory of operation. The supervisor tells of the same state at each step. For each topic the log
keeps what was said last, and a line is written only where that has changed. What happens once, such
as an action or another limit, is always written. The memory line comes when all workers have
booted, then once in each interval. A reload makes a stand-down news again, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gunicorn_autoconf.fleet.sample import Sample
from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.memory.lines import render_action, render_memory
from gunicorn_autoconf.memory.metrics import metrics
from gunicorn_autoconf.units import format_bytes

if TYPE_CHECKING:
    from gunicorn.glogging import Logger

    from gunicorn_autoconf.plan.budget import MemoryBudget


class GuardLog:
    """
    What was already logged.

    The supervisor's thread uses it; `begin_again` is called while that thread is paused.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._said: dict[str, object] = {}
        self._memory_seconds: float | None = None
        self._has_logged_memory = False

    def begin_again(self) -> None:
        """Forget what a reload ends."""
        self._said.pop("stood down", None)

    def memory(
        self, sample: Sample, interval_seconds: float, budget: Callable[[], MemoryBudget | None]
    ) -> None:
        """
        Log the memory line and the metrics where they are due; never at an interval of 0.

        The first line is due as soon as all workers have booted.
        """
        if self._memory_seconds is None:
            self._memory_seconds = sample.at_seconds
        is_first = not self._has_logged_memory and sample.is_settled
        is_due = is_first or sample.at_seconds - self._memory_seconds >= interval_seconds
        if not (interval_seconds and is_due):
            return
        self._memory_seconds, self._has_logged_memory = sample.at_seconds, True
        granted = budget()
        self._log.info("%s", render_memory(sample, granted))
        for metric, value in metrics(sample, granted):
            extra = {"metric": metric, "value": value, "mtype": "gauge"}
            self._log.debug("%s: %d", metric, value, extra=extra)

    def action(self, action: Action) -> None:
        """Log what the guard does, or which worker it keeps and why."""
        say = self._log.info if action.kind is Kind.GROW else self._log.warning
        say("%s", render_action(action))

    def would_act(self, action: Action) -> None:
        """Log what the guard would do if it did not only observe."""
        is_keep = action.kind is Kind.KEEP
        if self._is_news("would", None if is_keep else (action.kind, action.pid)) and not is_keep:
            self._log.info("%s", render_action(action, would=True))

    def replaced(self, hooks: Sequence[str], *, matters: bool) -> None:
        """Log why the guard only observes; it *matters* where the guard would act."""
        if self._is_news("replaced", tuple(hooks)) and hooks and matters:
            self._log.warning(
                "gunicorn-autoconf: the guard only observes, as your own %s replaced ours",
                " and ".join(hooks),
            )

    def stood_down(self, count: int) -> None:
        """Log that an operator set the count."""
        if self._is_news("stood down", True):
            self._log.info(
                "gunicorn-autoconf: an operator set the count to %d; it stays so until a reload",
                count,
            )

    def limit_changed(self, before_bytes: int, now_bytes: int) -> None:
        """Log another memory limit."""
        self._log.info(
            "gunicorn-autoconf: the memory limit changed from %s to %s; planning again",
            format_bytes(before_bytes),
            format_bytes(now_bytes),
        )

    def unclaimed(self, kills: int) -> None:
        """Log OOM kills of processes that were no workers."""
        if kills:
            self._log.warning(
                "gunicorn-autoconf: the kernel's OOM killer took %d processes of this cgroup "
                "that were no workers",
                kills,
            )

    def is_new_failure(self, error: Exception) -> bool:
        """Whether a step has not failed in this way just before."""
        return self._is_news("failure", repr(error))

    def _is_news(self, topic: str, what: object) -> bool:
        """Whether something else was said on *topic* before."""
        before, self._said[topic] = self._said.get(topic), what
        return before != what
