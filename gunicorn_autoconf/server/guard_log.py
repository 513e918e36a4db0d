"""What the supervisor logs, each thing once. Logs.

Theory of operation. The supervisor tells of the same state at each step. For each topic the log
keeps what was said last, and a line is written only where that has changed. What happens once, such
as an action or another limit, is always written. The memory line comes when all workers have
booted, then once in each interval. A reload makes a stand-down news again, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.fleet.sample import Helper, Sample
from gunicorn_autoconf.memory.actions import Action, Kind, Stopped
from gunicorn_autoconf.memory.lines import (
    memory_fields,
    render_action,
    render_all_ready,
    render_memory,
    render_stopped,
)
from gunicorn_autoconf.memory.oom_lines import render_helper_kill, render_loop, render_others_kill
from gunicorn_autoconf.memory.throttling import render_slowdown
from gunicorn_autoconf.units import format_bytes

if TYPE_CHECKING:
    from gunicorn.glogging import Logger

    from gunicorn_autoconf.memory.beside import Beside
    from gunicorn_autoconf.memory.kill_loop import Loop
    from gunicorn_autoconf.memory.throttling import Slowdown
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

    def ready(self, sample: Sample) -> bool:
        """Log once that all workers are ready; return whether that has been logged."""
        if sample.is_settled and self._is_news("ready", True):
            log_event(
                self._log,
                "info",
                "all_ready",
                render_all_ready(sample),
                workers=len(sample.workers),
                pss_bytes=sum(worker.size_bytes for worker in sample.workers),
            )
        return "ready" in self._said

    def memory(
        self,
        sample: Sample,
        interval_seconds: float,
        budget: MemoryBudget | None,
        beside: Beside | None,
    ) -> bool:
        """
        Log the memory line where it is due; never at an interval of 0.

        The first line is due as soon as all workers have booted. Return whether it was due.
        """
        if self._memory_seconds is None:
            self._memory_seconds = sample.at_seconds
        is_first = not self._has_logged_memory and sample.is_settled
        is_due = is_first or sample.at_seconds - self._memory_seconds >= interval_seconds
        if not (interval_seconds and is_due):
            return False
        self._memory_seconds, self._has_logged_memory = sample.at_seconds, True
        fields = memory_fields(sample, budget, beside)
        log_event(self._log, "info", "memory", render_memory(sample, budget, beside), **fields)
        return True

    def slowdown(self, slow: Slowdown) -> None:
        """Log that the server waited for memory."""
        log_event(
            self._log,
            "warning",
            "memory_slowdown",
            f"gunicorn-autoconf: {render_slowdown(slow)}",
            interval_seconds=round(slow.seconds, 1),
            memory_high_events=slow.high_events,
            memory_high_bytes=slow.high.limit_bytes if slow.high else None,
            waited_seconds=slow.waited and round(slow.waited.some_seconds, 3),
            all_waited_seconds=slow.waited and round(slow.waited.full_seconds, 3),
        )

    def action(self, action: Action) -> None:
        """Log what the guard does, or which worker it keeps and why."""
        level = "info" if action.kind is Kind.GROW else "warning"
        self._action(level, action, would=False)

    def would_act(self, action: Action) -> None:
        """Log what the guard would do if it did not only observe."""
        is_keep = action.kind is Kind.KEEP
        if self._is_news("would", None if is_keep else (action.kind, action.pid)) and not is_keep:
            self._action("info", action, would=True)

    def _action(self, level: str, action: Action, *, would: bool) -> None:
        log_event(
            self._log,
            level,
            "guard",
            render_action(action, would=would),
            action=action.kind.value,
            worker=action.pid or None,
            add_workers=action.add or None,
            only_observes=would,
        )

    def stopped(self, stopped: Stopped | None) -> None:
        """Log once where memory has ended a growth."""
        if self._is_news("stopped", stopped) and stopped:
            text = render_stopped(*stopped)
            log_event(self._log, "warning", "growth_stopped", text, **stopped._asdict())

    def stood_down(self, count: int) -> None:
        """Log that an operator set the count."""
        if self._is_news("stood down", True):
            log_event(
                self._log,
                "info",
                "guard_stood_down",
                f"gunicorn-autoconf: an operator set the count to {count}; it stays so until a "
                "reload",
                workers=count,
            )

    def limit_changed(self, before_bytes: int, now_bytes: int) -> None:
        """Log another memory limit."""
        log_event(
            self._log,
            "info",
            "memory_limit_changed",
            f"gunicorn-autoconf: the memory limit changed from {format_bytes(before_bytes)} to "
            f"{format_bytes(now_bytes)}; planning again",
            before_bytes=before_bytes,
            limit_bytes=now_bytes,
        )

    def unclaimed(self, kills: int, gone: Sequence[Helper]) -> None:
        """
        Log OOM kills of processes that were no workers.

        *gone* are the helpers that have ended meanwhile, the largest first: the kernel takes the
        largest process. Where more have ended than it killed, it may have been another one.
        """
        for helper in gone[:kills]:
            is_certain = len(gone) <= kills
            log_event(
                self._log,
                "warning",
                "helper_oom_killed",
                render_helper_kill(helper, is_certain=is_certain),
                helper=helper.pid,
                helper_name=helper.name,
                worker=helper.worker,
                rss_bytes=helper.rss_bytes,
                is_certain=is_certain,
            )
        if unknown := kills - len(gone[:kills]):
            log_event(
                self._log,
                "warning",
                "other_oom_killed",
                render_others_kill(unknown),
                processes=unknown,
            )

    def kill_loop(self, loop: Loop, fits: int | None) -> None:
        """Log that workers are OOM-killed one after the other, and how many would fit."""
        log_event(
            self._log,
            "error",
            "oom_loop",
            render_loop(loop, fits),
            kills=loop.kills,
            seconds=round(loop.seconds, 1),
            uss_bytes=loop.size_bytes,
            fits=fits,
        )

    def is_new_failure(self, error: Exception) -> bool:
        """Whether a step has not failed in this way just before."""
        return self._is_news("failure", repr(error))

    def _is_news(self, topic: str, what: object) -> bool:
        """Whether something else was said on *topic* before."""
        before, self._said[topic] = self._said.get(topic), what
        return before != what
