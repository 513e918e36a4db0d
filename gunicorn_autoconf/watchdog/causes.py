"""
What kept an event loop, and in which words to say so. Pure.

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

# Where several have a share in a stall, so much of it may be the error of their clocks: these are
# read one after the other, and the kernel brings them up to date every few milliseconds.
DOUBT_FRACTION, DOUBT_SECONDS = 0.05, 0.02
# A share below this is not named.
NAMED_FRACTION = 0.1


class Cause(Enum):
    """What made the loop wait."""

    CODE = "your code"
    QUOTA = "the CPU quota"
    MACHINE = "a crowded machine"
    STOPPED = "a stopped process"
    COLLECTOR = "garbage collection"
    MEMORY = "memory pressure"


class Evidence(NamedTuple):
    """What happened while the loop did not run, in seconds."""

    blocked_seconds: float
    computing_seconds: float = 0.0
    """CPU time of the loop's thread, the collector's included."""
    collecting_seconds: float = 0.0
    """CPU time of the garbage collector."""
    queued_seconds: float = 0.0
    """The thread was ready to run and got no CPU."""
    throttled_seconds: float = 0.0
    """A CPU quota stopped threads: an upper bound, as it is summed over cores."""
    stopped_seconds: float = 0.0
    """The process was stopped."""
    pressure_seconds: float = 0.0
    """Threads of the same cgroup waited for memory: an upper bound."""
    asleep_seconds: float = 0.0
    """The thread slept, as for a socket, a lock or `time.sleep`; who waits for memory does not."""

    @property
    def lost_seconds(self) -> float:
        """What the kernel kept from the code. A stopped thread may count as queued, too."""
        return min(self.blocked_seconds, max(self.queued_seconds, self.stopped_seconds))

    @property
    def memory_seconds(self) -> float:
        """
        How long the thread waited for memory: at most what nothing else explains.

        >>> evidence = Evidence(9.0, computing_seconds=2, asleep_seconds=1, pressure_seconds=50)
        >>> evidence.memory_seconds
        6.0
        """
        computing_seconds = max(self.computing_seconds, self.collecting_seconds)
        known_seconds = self.lost_seconds + computing_seconds + self.asleep_seconds
        return max(0.0, min(self.pressure_seconds, self.blocked_seconds - known_seconds))

    @property
    def code_seconds(self) -> float:
        """
        What is left for the code: its computing and its waiting, without the collector.

        >>> evidence = Evidence(12.0, computing_seconds=3, collecting_seconds=2, queued_seconds=9)
        >>> evidence.code_seconds
        1.0
        """
        kept_seconds = self.lost_seconds + self.collecting_seconds + self.memory_seconds
        return max(0.0, self.blocked_seconds - kept_seconds)

    @property
    def quota_seconds(self) -> float:
        """How much of the lost time a CPU quota explains."""
        return min(self.lost_seconds, self.throttled_seconds)

    def is_part(self, seconds: float) -> bool:
        """Return whether *seconds* are enough of the whole to be named."""
        return seconds >= NAMED_FRACTION * self.blocked_seconds

    def cause(self, threshold_seconds: float) -> Cause | None:
        """
        Return what made the loop wait longer than the threshold.

        It is None where the code had most of that, but less than the threshold.

        >>> Evidence(0.5, computing_seconds=0.5).cause(0.25)
        <Cause.CODE: 'your code'>
        >>> Evidence(0.5, queued_seconds=0.45, throttled_seconds=0.4).cause(0.25)
        <Cause.QUOTA: 'the CPU quota'>
        >>> Evidence(10.0, queued_seconds=9.9, throttled_seconds=0.02).cause(0.25)
        <Cause.MACHINE: 'a crowded machine'>
        >>> Evidence(0.3, queued_seconds=0.1).cause(0.25)
        """
        others_seconds = self.blocked_seconds - self.code_seconds
        is_shared = others_seconds > DOUBT_FRACTION * self.blocked_seconds
        doubt_seconds = DOUBT_SECONDS if is_shared else 0.0
        code_seconds = self.code_seconds - doubt_seconds
        if code_seconds >= max(threshold_seconds, DOUBT_FRACTION * self.blocked_seconds):
            return Cause.CODE
        if self.blocked_seconds < threshold_seconds:
            return None
        if self.code_seconds > self.blocked_seconds / 2:
            return None
        if self.memory_seconds > max(self.lost_seconds, self.collecting_seconds):
            return Cause.MEMORY
        if self.collecting_seconds > self.lost_seconds:
            return Cause.COLLECTOR
        if self.stopped_seconds >= self.lost_seconds / 2:
            return Cause.STOPPED
        return Cause.QUOTA if self.quota_seconds >= self.lost_seconds / 2 else Cause.MACHINE


class Suspect(NamedTuple):
    """What most of the samples of a stall show."""

    frame: Frame | None = None
    """The line to blame; None where no line was seen in half of the samples."""
    number: int = 0
    """Which of the samples shows it."""

    @property
    def place(self) -> str:
        """The line as the log names it."""
        return place_of(self.frame)


def place_of(frame: Frame | None) -> str:
    """Return how the log names a line to blame, or that there is none."""
    return frame.place if frame else "no single line"


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
        return Suspect()
    function, seen = functions.most_common(1)[0]
    if seen < sum(functions.values()) / 2:
        return Suspect()
    lines = Counter(f for f in culprits if f and (f.path, f.function) == function)
    frame = lines.most_common(1)[0][0]
    return Suspect(frame, culprits.index(frame))


def render_stall(  # noqa: PLR0913
    evidence: Evidence,
    suspect: Suspect,
    stack: Stack,
    request: str | None,
    origins: Origins,
    *,
    unreported: int = 0,
) -> str:
    """Return the warning about code that blocks the loop; *stack* has the text of its lines."""
    seconds = f"{evidence.blocked_seconds:.2f}"
    if suspect.frame is None:
        none = "no single line is to blame: the loop is overloaded"
        lines = [f"the event loop has been blocked for {seconds} s; {none}"]
        lines.append("  Cure: more workers, or less work for each request")
    else:
        line = find_culprit(stack, origins) or suspect.frame
        lines = [f"the event loop has been blocked for {seconds} s by {line}"]
        lines += [f"  request: {request}"] if request else []
        lines.append(f"  {_cure(evidence)}")
    others_seconds = evidence.blocked_seconds - evidence.code_seconds
    if evidence.is_part(max(others_seconds, evidence.pressure_seconds)):
        lines.append(_render_parts(evidence))
    if unreported:
        lines.append(f"  {unreported} more stalls here since the last report")
    if stack:
        lines += ["  stack, innermost first:", *render_stack(stack, origins)]
    return join(lines)


def _render_parts(evidence: Evidence) -> str:
    # As the kernel counts it: for any thread here, its work to make room included.
    pressure_seconds = min(evidence.pressure_seconds, evidence.blocked_seconds)
    memory = f"threads of this cgroup waited for memory for {pressure_seconds:.2f} s of it"
    return (
        f"  of this your code took {evidence.code_seconds:.2f} s, the garbage collector "
        f"{evidence.collecting_seconds:.2f} s, and for {evidence.lost_seconds:.2f} s there was "
        f"no CPU ({evidence.quota_seconds:.2f} s of it by the CPU quota)"
        f"{f'; {memory}' if evidence.is_part(pressure_seconds) else ''}"
    )


def _cure(evidence: Evidence) -> str:
    if evidence.computing_seconds - evidence.collecting_seconds >= 0.5 * evidence.code_seconds:
        return (
            "the thread computes; nothing else runs in this worker meanwhile. Cure: a process "
            "pool, `loop.run_in_executor(pool, ...)`. `await asyncio.to_thread(...)` (Django: "
            "`sync_to_async`) keeps the loop running, unless it is one call into native code that "
            "holds the GIL"
        )
    return (
        "the thread waits; nothing else runs in this worker meanwhile. Cure: "
        "`await asyncio.to_thread(...)` (Django: `sync_to_async`), or an async client"
    )


def render_end(evidence: Evidence, place: str, request: str | None) -> str:
    """Return the line about a reported stall that has ended; *request* was not known before."""
    serving = f", serving {request}" if request else ""
    seconds = f"{evidence.blocked_seconds:.2f}"
    lines = [f"the event loop runs again; it was blocked for {seconds} s at {place}{serving}"]
    # It was the code's when it was reported; what came later may not have been.
    lines += [_render_parts(evidence)] if evidence.is_part(evidence.pressure_seconds) else []
    return join(lines)


def render_excuse(evidence: Evidence, cause: Cause, quota_path: str | None) -> str:
    """Return the line about a loop that was late through no fault of the code."""
    text = _render_excuse(evidence, cause, quota_path)
    parts = evidence.collecting_seconds, evidence.lost_seconds, evidence.memory_seconds
    is_mixed = evidence.is_part(sorted(parts)[1])
    return join([text, _render_parts(evidence)] if is_mixed else [text])


def _render_excuse(evidence: Evidence, cause: Cause, quota_path: str | None) -> str:
    late = f"the event loop was late by {evidence.blocked_seconds:.2f} s, not because of your code"
    if cause is Cause.COLLECTOR:
        return (
            f"{late}: the garbage collector took {evidence.collecting_seconds:.2f} s. "
            "`gc.freeze()` once everything is loaded makes collections shorter"
        )
    if cause is Cause.MEMORY:
        return (
            f"{late}: its thread waited for memory for {evidence.memory_seconds:.2f} s. "
            "Raise the limit or memory.high, or run fewer workers"
        )
    lost = f"{evidence.lost_seconds:.2f}"
    if cause is Cause.QUOTA:
        return (
            f"{late}: its thread got no CPU for {lost} s, {evidence.quota_seconds:.2f} s of it "
            f"throttled by the CPU quota ({quota_path}). Raise the limit or run fewer workers"
        )
    if cause is Cause.MACHINE:
        return (
            f"{late}: its thread was ready to run and got no CPU for {lost} s. The machine has "
            "more work than cores"
        )
    return f"{late}: SIGSTOP or a debugger had stopped the process for {lost} s"
