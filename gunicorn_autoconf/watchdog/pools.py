"""
Thread pools of which all threads are busy while calls wait. Reads pools and frames in the worker.

A pool that is full keeps nothing from running that the arbiter could see: the loop ticks and the
heartbeat comes. So the worker looks itself, once a second, where it looks anyway.

Theory of operation. A pool is known by its name. A pool is full from the first look at
which calls wait in it until one at which none does. After `FULL_SECONDS` it is reported, and again
every `QUIET_SECONDS` while it is full; one that was free in between is reported no sooner. Only a
task may ask for anyio's limiter, so the first look starts such a task and a later one sees the
pool. Everything runs in the worker's main thread.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gunicorn_autoconf.watchdog.frames import find_request, walk
from gunicorn_autoconf.watchdog.sources import add_sources
from gunicorn_autoconf.watchdog.stacks import Origins, Say, ThreadStack, find_culprit, join, trim

# After so long without a free thread a pool is reported, and again after so long.
FULL_SECONDS = 5.0
QUIET_SECONDS = 60.0
MAX_PLACES = 5


class Pool(NamedTuple):
    """A pool of threads at one moment."""

    name: str
    size: int
    waiting: int
    """Calls that wait for a thread."""
    threads: frozenset[int]
    """Idents of its threads."""


class PoolWatcher:
    """Reports pools that stay full; called once a second."""

    def __init__(
        self, origins: Origins, say: Say, full: Callable[[float], object] | None = None
    ) -> None:
        """Report by *say*; call *full* with the seconds for which a pool was found full."""
        self._full = full
        self._looked_at: float | None = None
        self._origins = origins
        self._say = say
        self._full_since: dict[str, float] = {}
        self._reported_at: dict[str, float] = {}

    def __call__(self, now: float) -> None:
        """Look at every pool of this process."""
        full = {pool.name: pool for pool in read_pools() if pool.waiting}
        if full and self._full and self._looked_at is not None:
            self._full(now - self._looked_at)
        self._looked_at = now
        self._full_since = {name: self._full_since.get(name, now) for name in full}
        for name, pool in full.items():
            seconds = now - self._full_since[name]
            is_quiet = now - self._reported_at.get(name, -QUIET_SECONDS) < QUIET_SECONDS
            if seconds >= FULL_SECONDS and not is_quiet:
                self._reported_at[name] = now
                text = self._render(pool, seconds)
                self._say("warning", "pool_full", text, pool=pool.name, waiting=pool.waiting)

    def _render(self, pool: Pool, seconds: float) -> str:
        calls = "call waits" if pool.waiting == 1 else "calls wait"
        head = (
            f"{pool.size} of {pool.size} threads of {pool.name} busy for {seconds:.0f} s, "
            f"{pool.waiting} {calls}. Cure: a time limit on what they do, more threads "
            "(GUNICORN_THREADS), or async code"
        )
        frames = sys._current_frames()  # noqa: SLF001 - documented, for debuggers
        threads = [
            ThreadStack("", trim(walk(frames[ident])), find_request(frames[ident]))
            for ident in pool.threads
            if ident in frames
        ]
        return join([head, *render_places(threads, self._origins)])


def render_places(threads: list[ThreadStack], origins: Origins) -> list[str]:
    """Return where *threads* are, the most frequent place first."""
    places = Counter(find_culprit(thread.stack, origins) for thread in threads)
    lines = []
    for frame, count in places.most_common(MAX_PLACES):
        requests = [t.request for t in threads if find_culprit(t.stack, origins) == frame]
        serving = next(filter(None, requests), None)
        where = str(add_sources((frame,))[0]) if frame else "(no Python code)"
        lines.append(f"  {count} at {where}" + (f", serving {serving}" if serving else ""))
    if len(places) > MAX_PLACES:
        lines.append(f"  and {len(places) - MAX_PLACES} more places")
    return lines


def read_pools() -> Iterator[Pool]:
    """Yield anyio's pool and every `ThreadPoolExecutor`: the loop's, Gunicorn's, the user's."""
    yield from _anyio_pool()
    futures = sys.modules.get("concurrent.futures.thread")
    queues: Any = getattr(futures, "_threads_queues", {})
    threads: dict[int, list[threading.Thread]] = {}
    for thread, queue in list(queues.items()):
        threads.setdefault(id(queue), []).append(thread)
    by_id = {id(queue): queue for queue in queues.values()}
    for key, members in threads.items():
        idents = frozenset(thread.ident for thread in members if thread.ident)
        prefix = members[0].name.rpartition("_")[0]
        name = "the event loop's executor" if prefix == "asyncio" else f"pool {prefix}"
        # A pool of which a thread is free has nothing in its queue.
        yield Pool(name, len(idents), by_id[key].qsize(), idents)


def _anyio_pool() -> Iterator[Pool]:
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio else None  # noqa: SLF001 - raises nothing
    if asyncio is None or loop is None or "anyio" not in sys.modules:
        return
    limiter = _limiters.get(id(loop))
    if limiter is None:
        asyncio.ensure_future(_find_limiter())
        return
    waiting = limiter.statistics().tasks_waiting
    if waiting and limiter.borrowed_tokens >= limiter.total_tokens:
        idents = (t.ident for t in threading.enumerate() if t.name.startswith("AnyIO worker"))
        members = frozenset(ident for ident in idents if ident)
        yield Pool("anyio", int(limiter.total_tokens), waiting, members)


_limiters: dict[int, Any] = {}


async def _find_limiter() -> None:
    """Note anyio's limiter of the running loop, which only a task may ask for."""
    from anyio.to_thread import current_default_thread_limiter

    loop = sys.modules["asyncio"].get_running_loop()
    _limiters[id(loop)] = current_default_thread_limiter()
