"""The real server under load, while all that an operator fears is done to it."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from accounts import account, miscounted, twice
from arena import Arena, memory_cgroup
from campaign import Campaign
from columns import render_columns
from harness import Launcher, wait_until
from invariants import growth, mistakes
from load import Load
from summary import Summary, tell

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform != "linux", reason="everything is seen in /proc"),
]

CLASSES = {
    "sync": ("cpu", "wsgi_app"),
    "ThreadWorker": ("io", "wsgi_app"),
    "UvicornWorker": ("async", "asgi_app"),
}

# Of each request that was lost the log is shown; after so many the picture is clear.
MOST_TOLD = 5


@pytest.fixture(params=CLASSES)
def arena(gunicorn: Launcher, request: pytest.FixtureRequest) -> Iterator[Arena]:
    """A server of each worker class; what it leaves goes to the folder of the report."""
    workload, application = CLASSES[request.param]
    with memory_cgroup() as cgroup:
        arena = Arena(gunicorn, cgroup, workload, application)
        try:
            arena.log.wait_for(rf"Using worker: .*{request.param}")
            yield arena
        finally:
            arena.server.close()
    if folder := request.config.getoption("--chaos-report"):
        kept = Path(folder) / request.param
        shutil.copytree(gunicorn.folder, kept, dirs_exist_ok=True)


def test_server_lives_through_everything(arena: Arena, request: pytest.FixtureRequest) -> None:
    seconds, seed = (request.config.getoption(f"--chaos-{name}") for name in ("seconds", "seed"))
    campaign = Campaign(arena, Load(arena.address), seed)
    campaign.run(seconds)

    summary = summarize(campaign, request.node.callspec.id)
    show(summary, request)
    wrong = [*campaign.violations, *mistakes(arena), *growth(campaign.calms)]
    wrong += [f"begun twice: {request}: {by}" for request, by in twice(arena.begun()).items()]
    wrong += stories(campaign, summary)
    wrong += counters(campaign)
    if wrong:
        again = f"again: pytest tests/chaos -k {summary.worker_class} --chaos-seed {seed}"
        pytest.fail("\n".join([*wrong, f"{again} --chaos-seconds {seconds:g}"]), pytrace=False)


def summarize(campaign: Campaign, worker_class: str) -> Summary:
    arena = campaign.arena
    return Summary(
        worker_class=worker_class,
        seed=campaign.seed,
        seconds=campaign.seconds,
        rounds=max(len(campaign.calms) - 1, 0),
        injections=campaign.injections,
        accounts=account(campaign.load.attempts, arena.begun(), arena.losses()),
        killed=len(arena.killed()),
        recycled=len(arena.log.lines("was retired by the guard")),
        calms=campaign.calms,
    )


def show(summary: Summary, request: pytest.FixtureRequest) -> None:
    """Have the summary shown at the end; write it where `--chaos-report` says."""
    request.node.user_properties.append(("chaos", summary.rows()))
    if folder := request.config.getoption("--chaos-report"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder) / summary.worker_class
        table = render_columns([summary.rows()])
        path.with_suffix(".md").write_text(f"{table}\n", encoding="utf-8")
        path.with_suffix(".json").write_text(summary.as_json(), encoding="utf-8")


def counters(campaign: Campaign) -> list[str]:
    """Return what is wrong with the counters, once nothing is asked of the server any more."""
    arena = campaign.arena
    mark = time.monotonic()

    def is_idle() -> bool:
        last = arena.counted()[arena.server.pid][-1]
        return last.at > mark and not last.in_flight

    with suppress(pytest.fail.Exception):  # What is wrong is told below.
        wait_until(is_idle, "the last arbiter has counted, and nothing is in flight")
    return miscounted(arena.counted(), campaign.load.attempts, arena.killed(), arena.server.pid)


def stories(campaign: Campaign, summary: Summary) -> list[str]:
    """Tell of the requests that no fault excuses."""
    arena, outside = campaign.arena, summary.accounts.outside
    begun, log = arena.begun(), arena.log.text.splitlines()
    ahead = time.time() - time.monotonic()
    told = [
        tell(lost, begun.get(lost.id, ()), campaign.injections, log, ahead)
        for lost in outside[:MOST_TOLD]
    ]
    return [f"lost outside of killed workers: {len(outside)}", *told] if outside else []
