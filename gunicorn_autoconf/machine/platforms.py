"""The platforms that we know by their variables: their grace period and what they hide. Pure.

A new platform is a row of `PLATFORMS` and a name in `Platform`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gunicorn_autoconf.machine.facts import Machine, Platform


class PlatformRow(NamedTuple):
    """
    What is known of one platform.

    Attributes:
        name: As JSON and reasons have it.
        title: As sentences have it.
        variables: Any of these in the environment shows the platform, as ``NAME`` (not empty) or
            ``NAME=value``.
        grace_seconds: The usual time from its signal to SIGKILL; 0 if there is none.
        grace_setting: The platform's own setting for that time.
        source: Where *grace_seconds* is documented.
        grace_variable: The variable that shows a changed *grace_seconds* to the process, if any.
        is_container: Whether the cores that we see may be shared with others.
        cpu_hint: What to do where no file shows the CPU limit.
        memory_hint: What to do where no file shows the memory limit.
        stop_hint: What else to know about how the platform stops a server.
    """

    name: Platform
    title: str
    variables: tuple[str, ...]
    grace_seconds: int
    grace_setting: str
    source: str
    grace_variable: str = ""
    is_container: bool = True
    cpu_hint: str = ""
    memory_hint: str = ""
    stop_hint: str = ""


# The first row that fits counts. Platforms that run on Kubernetes, Nomad or ECS themselves, and
# show it, come before these; Knative, which has Cloud Run's variables, is Kubernetes.
PLATFORMS: tuple[PlatformRow, ...] = (
    PlatformRow(
        name="heroku",
        title="Heroku",
        variables=("DYNO",),
        grace_seconds=30,
        grace_setting="",
        source="devcenter.heroku.com/articles/dyno-shutdown-behavior",
        cpu_hint=(
            "Shared dynos (Eco, Basic, Standard) show every core of the host and get a share of "
            "them: set GUNICORN_CPUS=1. Performance dynos own their cores."
        ),
    ),
    PlatformRow(
        name="render",
        title="Render",
        variables=("RENDER=true",),
        grace_seconds=30,
        grace_setting="maxShutdownDelaySeconds",
        source="Render's API schema: maxShutdownDelaySeconds, 1 to 300, default 30",
        cpu_hint="Set GUNICORN_CPUS=$RENDER_CPU_COUNT in the start command.",
    ),
    PlatformRow(
        name="fly",
        title="Fly",
        variables=("FLY_MACHINE_ID", "FLY_ALLOC_ID"),
        grace_seconds=5,
        grace_setting="kill_timeout in fly.toml",
        source="fly.io/docs/reference/configuration: kill_timeout, kill_signal",
        is_container=False,  # A Machine is a virtual machine: its cores and memory are its own.
        # Source: fly.io/docs/machines/cpu-performance: the baseline of a shared vCPU is 6.25 %.
        cpu_hint=(
            "A shared CPU has a sixteenth of a core for good and more only for a while: set "
            "GUNICORN_CPUS there."
        ),
        stop_hint=(
            'Fly sends SIGINT, on which Gunicorn drops its requests: set kill_signal = "SIGTERM" '
            "in fly.toml."
        ),
    ),
    PlatformRow(
        name="railway",
        title="Railway",
        variables=("RAILWAY_DEPLOYMENT_ID", "RAILWAY_REPLICA_ID"),
        grace_seconds=0,
        grace_setting="RAILWAY_DEPLOYMENT_DRAINING_SECONDS",
        # An answer in Railway's forum says 3 s; its documentation says 0 in three places.
        source="docs.railway.com/variables/reference: default 0 s from SIGTERM to SIGKILL",
        grace_variable="RAILWAY_DEPLOYMENT_DRAINING_SECONDS",
        cpu_hint="Set GUNICORN_CPUS to the vCPUs of the service's limit.",
    ),
    PlatformRow(
        name="app-service",
        title="Azure App Service",
        variables=("WEBSITE_INSTANCE_ID",),
        grace_seconds=5,
        grace_setting="WEBSITES_CONTAINER_STOP_TIME_LIMIT",
        source="learn.microsoft.com/azure/app-service/reference-app-settings: 5, at most 120",
        grace_variable="WEBSITES_CONTAINER_STOP_TIME_LIMIT",
        cpu_hint=(
            "Other applications of the same App Service plan run on these cores as well: set "
            "GUNICORN_CPUS to what this one may use."
        ),
    ),
    PlatformRow(
        name="cloud-foundry",
        title="Cloud Foundry",
        variables=("CF_INSTANCE_INDEX", "VCAP_APPLICATION"),
        grace_seconds=10,
        grace_setting="",
        source="docs.cloudfoundry.org/devguide/deploy-apps/app-lifecycle.html, Shutdown",
        cpu_hint=(
            "Cloud Foundry gives CPU by shares of the cell, in proportion to the memory: set "
            "GUNICORN_CPUS to what `cf app` shows as entitlement."
        ),
        memory_hint="Set GUNICORN_MEMORY to the instance's memory, $MEMORY_LIMIT.",
    ),
    PlatformRow(
        name="fargate",
        title="Fargate",
        variables=("AWS_EXECUTION_ENV=AWS_ECS_FARGATE",),
        grace_seconds=30,
        grace_setting="stopTimeout",
        source="Amazon ECS, ContainerDefinition: stopTimeout, default 30, on Fargate at most 120",
        cpu_hint=(
            "No file shows a Fargate task's vCPU; a task of 0.25 vCPU sees whole cores. Set "
            "GUNICORN_CPUS to the vCPU of the task, such as 0.25."
        ),
        memory_hint="Set GUNICORN_MEMORY to the memory of the task.",
    ),
    PlatformRow(
        name="ecs",
        title="Amazon ECS",
        variables=(
            "ECS_CONTAINER_METADATA_URI_V4",
            "ECS_CONTAINER_METADATA_URI",
            "AWS_EXECUTION_ENV=AWS_ECS_EC2",
        ),
        grace_seconds=30,
        grace_setting="stopTimeout",
        source="Amazon ECS, ContainerDefinition: stopTimeout; ECS_CONTAINER_STOP_TIMEOUT",
        cpu_hint=(
            "ECS turns the cpu of a container into a share, not into a limit: set the task's cpu, "
            "or GUNICORN_CPUS."
        ),
    ),
    PlatformRow(
        name="nomad",
        title="Nomad",
        variables=("NOMAD_ALLOC_ID",),
        grace_seconds=5,
        grace_setting="kill_timeout",
        source="developer.hashicorp.com/nomad/docs/job-specification/task: kill_timeout, 5s",
        cpu_hint=(
            "Nomad turns a task's cpu (MHz) into a share, not into a limit: reserve cores, set "
            "cpu_hard_limit of the docker driver, or set GUNICORN_CPUS."
        ),
        memory_hint="Set GUNICORN_MEMORY=${NOMAD_MEMORY_LIMIT}MiB in the task's env.",
        stop_hint=(
            "Drivers other than docker send SIGINT, on which Gunicorn drops its requests: set "
            'kill_signal = "SIGTERM" in the task.'
        ),
    ),
    PlatformRow(
        name="kubernetes",
        title="Kubernetes",
        variables=("KUBERNETES_SERVICE_HOST",),
        grace_seconds=30,
        grace_setting="terminationGracePeriodSeconds",
        source="kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle, termination",
    ),
    PlatformRow(
        name="cloud-run",
        title="Cloud Run",
        variables=("K_REVISION",),
        grace_seconds=10,
        grace_setting="",
        source="cloud.google.com/run/docs/container-contract, instance shutdown",
        cpu_hint="The first generation shows no CPU limit: set GUNICORN_CPUS to --cpu.",
        memory_hint="The first generation shows no memory limit: set GUNICORN_MEMORY to --memory.",
    ),
)

_ROWS = {row.name: row for row in PLATFORMS}


def find_platform(environ: Mapping[str, str]) -> tuple[PlatformRow, str] | None:
    """
    Return the platform that *environ* shows, and the variable that shows it.

    >>> row, variable = find_platform({"DYNO": "web.1"})
    >>> row.name, row.grace_seconds, variable
    ('heroku', 30, 'DYNO')
    """
    for row in PLATFORMS:
        for entry in row.variables:
            name, _, wanted = entry.partition("=")
            value = environ.get(name)
            if value and (not wanted or value == wanted):
                return row, name
    return None


def read_grace_seconds(row: PlatformRow, environ: Mapping[str, str]) -> int | None:
    """Return the time to end that a variable of the platform shows, or None where none does."""
    value = environ.get(row.grace_variable, "").strip() if row.grace_variable else ""
    # A bad value is the platform's business: it takes its usual time then.
    return int(value) if value.isascii() and value.isdigit() and len(value) < 6 else None


def platform_row(machine: Machine) -> PlatformRow | None:
    """Return what is known of the platform of *machine*."""
    return _ROWS[machine.platform] if machine.platform else None


def grace_seconds(machine: Machine) -> int | None:
    """Return the time from the platform's signal to SIGKILL, or None on no known platform."""
    row = platform_row(machine)
    if row is None:
        return None
    return row.grace_seconds if machine.grace_seconds is None else machine.grace_seconds
