"""The steps of the plan that choose timeouts. Pure."""

from __future__ import annotations

import math

from gunicorn_autoconf.plan.plan import Given, Plan, choose, obey, warn
from gunicorn_autoconf.plan.workload import Workload
from gunicorn_autoconf.worker_classes import UVICORN, class_name, is_sync

# Usual load balancers give up after 60 s; computing requests are given twice that.
TIMEOUT_SECONDS = 60
CPU_TIMEOUT_SECONDS = 120

# Kubernetes and Heroku send SIGKILL 30 s after SIGTERM; 25 s leave time to log and exit.
GRACEFUL_TIMEOUT_SECONDS = 30
PLATFORM_GRACEFUL_TIMEOUT_SECONDS = 25

# Most workers send no heartbeat while they drain (gthread does in Gunicorn 27, not in 23): they
# have to end before `timeout` strikes.
DRAIN_MARGIN_SECONDS = 2

# Usual load balancers reuse a connection for 60 s; one that we close earlier is a 502.
KEEPALIVE_SECONDS = 65


def timeout(result: Plan, given: Given) -> Plan:
    """Seconds of silence after which the arbiter kills a worker."""
    if given.declaration.explicit("timeout"):
        return obey(result, given, "timeout")
    name = class_name(result.settings["worker_class"])
    if result.workload is Workload.CPU:
        seconds, rule = CPU_TIMEOUT_SECONDS, "seconds for requests that compute"
    elif name == UVICORN:
        # The loop sends the heartbeat, whatever its requests wait for.
        seconds, rule = TIMEOUT_SECONDS, "seconds for which the event loop may be blocked"
    else:
        seconds, rule = TIMEOUT_SECONDS, "usual load balancers give up at 60 s"
    return choose(result, "timeout", seconds, rule)


def graceful_timeout(result: Plan, given: Given) -> Plan:
    """
    Seconds that a worker has to finish its requests.

    Below `timeout`, which goes on counting, but where the worker sends its heartbeat meanwhile: a
    request that takes longer than `timeout` is served there, so it is finished there, too.
    """
    timeout = result.settings["timeout"]
    silent = timeout and class_name(result.settings["worker_class"]) != UVICORN
    fitting = max(timeout - DRAIN_MARGIN_SECONDS, 1) if silent else math.inf
    if given.declaration.explicit("graceful_timeout"):
        result = obey(result, given, "graceful_timeout")
        graceful = result.settings["graceful_timeout"]
        if graceful <= fitting:
            return result
        return warn(
            result,
            f"graceful_timeout {graceful} s leaves no margin under timeout {timeout} s: "
            "a draining worker may be killed with a request in flight",
        )
    platform = given.machine.platform
    if platform:
        chosen, rule = PLATFORM_GRACEFUL_TIMEOUT_SECONDS, f"{platform} kills after 30 s"
    else:
        chosen, rule = GRACEFUL_TIMEOUT_SECONDS, "Gunicorn's own"
    result = choose(result, "graceful_timeout", chosen, rule)
    if chosen <= fitting:
        return result
    return choose(
        result,
        "graceful_timeout",
        fitting,
        "timeout - 2: most draining workers send no heartbeat",
        source=result.reasons_for("timeout")[-1].source,
        timeout=timeout,
    )


def keepalive(result: Plan, given: Given) -> Plan:
    """Seconds that an idle connection stays open."""
    if given.declaration.explicit("keepalive"):
        return obey(result, given, "keepalive")
    if is_sync(class_name(result.settings["worker_class"])) and result.settings["threads"] == 1:
        return result  # sync closes every connection after its response.
    return choose(
        result,
        "keepalive",
        KEEPALIVE_SECONDS,
        "longer than the 60 s idle timeout of load balancers",
    )
