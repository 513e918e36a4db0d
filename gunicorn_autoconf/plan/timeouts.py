"""The steps of the plan that choose timeouts. Pure."""

from __future__ import annotations

import math

from gunicorn_autoconf.machine.platforms import grace_seconds, platform_row
from gunicorn_autoconf.plan.plan import Given, Plan, choose
from gunicorn_autoconf.plan.workload import Workload
from gunicorn_autoconf.worker_classes import Family, Slots, family_of

# Most load balancers give up after 60 s; requests that compute get twice as long.
TIMEOUT_SECONDS = 60
CPU_TIMEOUT_SECONDS = 120

GRACEFUL_TIMEOUT_SECONDS = 30
# What a platform grants, less the time to end the lifespan, log and exit: 25 of 30 s, 4 of 5.
PLATFORM_FRACTION = 5 / 6

# What a worker that sends no heartbeat while it drains needs to end before `timeout` kills it.
DRAIN_MARGIN_SECONDS = 2

# Most load balancers reuse a connection for 60 s. If a worker closes it earlier, that is a 502.
KEEPALIVE_SECONDS = 65


def timeout(result: Plan, given: Given) -> Plan:
    """Seconds without a heartbeat after which the arbiter kills a worker."""
    family = _family(result)
    if result.workload is Workload.CPU:
        seconds, rule = CPU_TIMEOUT_SECONDS, "seconds for requests that compute"
    elif family and family.slots is Slots.UNBOUNDED:
        # The loop sends the heartbeat, however long its requests wait.
        seconds, rule = TIMEOUT_SECONDS, "seconds for which the event loop may be blocked"
    else:
        seconds, rule = TIMEOUT_SECONDS, "usual load balancers give up at 60 s"
    return choose(result, "timeout", seconds, rule)


def graceful_timeout(result: Plan, given: Given) -> Plan:
    """Seconds that a worker has to finish its requests, below `timeout` where that matters."""
    seconds, rule, source = GRACEFUL_TIMEOUT_SECONDS, "Gunicorn's own", ""
    # A platform that grants no time at all leaves nothing to plan for; reloads still take theirs.
    if granted := grace_seconds(given.machine):
        seconds = max(math.floor(granted * PLATFORM_FRACTION), 1)
        rule = f"{given.machine.platform} kills after {granted} s"
        if row := platform_row(given.machine):
            source = row.grace_variable if given.machine.grace_seconds is not None else ""
    result = choose(result, "graceful_timeout", seconds, rule, source=source)
    timeout = result.settings["timeout"]
    longest = longest_drain_seconds(timeout, _family(result))
    if seconds <= longest:
        return result
    rule = "timeout - 2: most draining workers send no heartbeat"
    source = result.reasons_for("timeout")[-1].source
    inputs = {"timeout": timeout}
    return choose(result, "graceful_timeout", longest, rule, source=source, inputs=inputs)


def longest_drain_seconds(timeout: int, family: Family | None) -> float:
    """
    Return how long a worker may finish its requests before *timeout* kills it.

    There is no such limit if it sends its heartbeat meanwhile. A worker of an unknown *family* is
    taken to send none.
    """
    heartbeats = family is not None and family.heartbeats_while_draining
    if not timeout or heartbeats:
        return math.inf
    return max(timeout - DRAIN_MARGIN_SECONDS, 1)


def keepalive(result: Plan, given: Given) -> Plan:
    """Seconds that an idle connection stays open."""
    family = _family(result)
    if family and family.ignores("keepalive"):
        return result
    protocol = given.declaration.explicit("protocol")
    if protocol and protocol.value == "uwsgi" and not (family and family.ignores("protocol")):
        # Gunicorn logs an error for each connection that nginx then closes (benoitc/gunicorn#3553).
        return choose(result, "keepalive", 0, "uwsgi: nginx opens a connection for each request")
    rule = "longer than the 60 s idle timeout of load balancers"
    return choose(result, "keepalive", KEEPALIVE_SECONDS, rule)


def _family(result: Plan) -> Family | None:
    return family_of(result.settings["worker_class"], result.settings["threads"])
