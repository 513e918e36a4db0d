"""
Why an event loop was late, and in which words to say so. Pure.

Only the time that the code itself took counts against it: not what the kernel kept from it, not
what the garbage collector took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.watchdog.stacks import (
    Frame,
    Origins,
    Stack,
    find_culprit,
    join,
    render_stack,
)

NO_LINE = "no single line"


class Cause(Enum):
    """Who made the loop wait."""

    CODE = "code"
    KERNEL = "kernel"
    COLLECTOR = "collector"


NOT_THE_CODE = "not because of your code"


class Evidence(NamedTuple):
    """What happened while the loop did not answer, in seconds."""

    blocked_seconds: float
    queued_seconds: float = 0.0
    """The loop's thread was ready to run and got no CPU."""
    away_seconds: float = 0.0
    """The watchdog itself did not run although it was its time."""
    collecting_seconds: float = 0.0
    """The garbage collector ran."""
    computing_seconds: float = 0.0
    """CPU time of the loop's thread."""
    native_seconds: float = 0.0
    """The watchdog waited for the GIL: somebody held it, with a CPU or without."""

    @property
    def lost_seconds(self) -> float:
        """What the kernel kept from us; both witnesses may have seen the same."""
        return min(self.blocked_seconds, max(self.queued_seconds, self.away_seconds))

    @property
    def code_seconds(self) -> float:
        """What is left for the code."""
        return max(0.0, self.blocked_seconds - self.lost_seconds - self.collecting_seconds)

    def cause(self, threshold_seconds: float) -> Cause | None:
        """
        Return who made the loop wait longer than the threshold; None where nobody alone did.

        >>> Evidence(0.5, computing_seconds=0.5).cause(0.25)
        <Cause.CODE: 'code'>
        >>> Evidence(0.5, queued_seconds=0.45).cause(0.25)
        <Cause.KERNEL: 'kernel'>
        >>> Evidence(0.3, queued_seconds=0.1).cause(0.25)
        """
        if self.code_seconds >= threshold_seconds:
            return Cause.CODE
        if self.blocked_seconds < threshold_seconds:
            return None
        excuse = max(self.lost_seconds, self.collecting_seconds)
        if excuse < self.blocked_seconds / 2:
            return None
        return Cause.KERNEL if excuse == self.lost_seconds else Cause.COLLECTOR


class Throttling(NamedTuple):
    """What a cgroup's CPU quota has done: how often and for how long it stopped somebody."""

    times: int
    seconds: float
    path: str
    """The file that says so."""


class Suspect(NamedTuple):
    """What most of the samples of a stall show."""

    place: str
    """What the stall is counted under."""
    frame: Frame | None = None
    """The line to blame; None where no line was seen in half of the samples."""
    number: int | None = None
    """Which of the samples shows it."""

    @property
    def function(self) -> tuple[str, str] | None:
        """The function of the line, and its file: a loop in it is at one line, then at another."""
        return (self.frame.path, self.frame.function) if self.frame else None


def find_suspect(samples: Sequence[Stack], origins: Origins) -> Suspect:
    """
    Return the line at which half of the *samples* or more are, or that there is no such line.

    A loop that serves many requests may be caught between two of them: a sample that shows
    nothing counts only where all are like that.
    """
    culprits = [find_culprit(stack, origins) for stack in samples]
    # By function: a loop in it is at one line, then at another.
    functions = Counter((f.path, f.function) for f in culprits if f)
    if not functions:
        return Suspect(NO_LINE)
    function, seen = functions.most_common(1)[0]
    if seen < sum(functions.values()) / 2:
        return Suspect(NO_LINE)
    lines = Counter(f for f in culprits if f and (f.path, f.function) == function)
    frame = lines.most_common(1)[0][0]
    return Suspect(frame.place, frame, culprits.index(frame))


class Stall(NamedTuple):
    """How long the loop was blocked, in one turn or in several with hardly a break."""

    seconds: float
    turns: int = 1
    longest_seconds: float = 0.0

    def plus(self, seconds: float) -> Stall:
        """
        Return this stall with one more turn.

        >>> Stall(0.2, 2, 0.1).plus(0.3)
        Stall(seconds=0.5, turns=3, longest_seconds=0.3)
        """
        return Stall(self.seconds + seconds, self.turns + 1, max(self.longest_seconds, seconds))

    def __str__(self) -> str:
        """How long, for a log line."""
        if self.turns < 2:
            return f"{self.seconds:.2f} s"
        return f"{self.seconds:.2f} s, in {self.turns} turns of up to {self.longest_seconds:.2f} s"


def render_stall(  # noqa: PLR0913, PLR0917
    stall: Stall,
    evidence: Evidence,
    suspect: Suspect,
    stack: Stack,
    request: str | None,
    origins: Origins,
    *,
    unreported: int = 0,
) -> str:
    """Return the warning about code that blocks the loop; *stack* has the text of its lines."""
    named = find_culprit(stack, origins)
    lines = [f"the event loop has been blocked for {stall}"]
    if suspect.frame is None:
        lines[0] += " by no single line: it has more to do than it can"
        lines.append("  Cure: more workers, or less work for each request")
    else:
        lines[0] += f" by {named or suspect.frame}"
        lines += [f"  request: {request}"] if request else []
        lines.append(f"  {_cure(evidence)}")
    if evidence.lost_seconds + evidence.collecting_seconds >= 0.1 * evidence.blocked_seconds:
        lines.append(
            f"  of this the kernel gave no CPU for {evidence.lost_seconds:.2f} s and "
            f"the garbage collector took {evidence.collecting_seconds:.2f} s"
        )
    if unreported:
        lines.append(f"  {unreported} more stalls here since the last report")
    if stack:
        lines += ["  the stack, innermost first:", *render_stack(stack, origins)]
    return join(lines)


def _cure(evidence: Evidence) -> str:
    # Who has no CPU cannot give the GIL away; who computes in Python does so at once.
    if evidence.native_seconds - evidence.queued_seconds >= 0.5 * evidence.code_seconds:
        return (
            "no other Python code ran meanwhile, in any thread: native code holds the GIL. The "
            "line may be the next one after it. Cure: a process pool, `loop.run_in_executor(pool, "
            "...)`, or smaller pieces"
        )
    if evidence.computing_seconds >= 0.5 * evidence.code_seconds:
        return (
            "the thread computes; nothing else runs in this worker meanwhile. Cure: "
            "`await asyncio.to_thread(...)` (Django: `sync_to_async`) keeps the loop answering, a "
            "process pool uses another core as well"
        )
    return (
        "the thread waits; nothing else runs in this worker meanwhile. Cure: "
        "`await asyncio.to_thread(...)` (Django: `sync_to_async`), or an async client"
    )


def render_end(stall: Stall, place: str, *, goes_on: bool = False) -> str:
    """Return the line about a reported stall that has ended, or *goes_on* and is counted so far."""
    now = "the event loop is as busy as before" if goes_on else "the event loop runs again"
    return f"{now}; it was blocked for {stall} at {place}"


def render_excuse(evidence: Evidence, cause: Cause, throttling: Throttling | None) -> str:
    """Return the line about a loop that was late through no fault of the code."""
    late = f"the event loop was late by {evidence.blocked_seconds:.2f} s, {NOT_THE_CODE}"
    if cause is Cause.COLLECTOR:
        return (
            f"{late}: a full garbage collection took {evidence.collecting_seconds:.2f} s. "
            "`gc.freeze()` once everything is loaded leaves out what stays anyway"
        )
    lost = f"for {evidence.lost_seconds:.2f} s"
    if throttling:
        return (
            f"{late}: the CPU quota kept the process from running {lost} (throttled "
            f"{throttling.times} times, {throttling.seconds:.2f} s over all threads, by "
            f"{throttling.path}). Raise the limit or start fewer workers"
        )
    if evidence.queued_seconds >= evidence.lost_seconds / 2:
        return (
            f"{late}: its thread was ready to run and got no CPU {lost}. The machine has more to "
            "do than cores"
        )
    return f"{late}: the process did not run {lost}: stopped, frozen, or a starved machine"
