"""The platforms that are known by their variables."""

from __future__ import annotations

from typing import get_args

import pytest
from builders import machine

from gunicorn_autoconf.machine.facts import Platform
from gunicorn_autoconf.machine.platforms import (
    PLATFORMS,
    find_platform,
    grace_seconds,
    read_grace_seconds,
)


@pytest.mark.parametrize(
    ("environ", "name", "grace"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "kubernetes", 30),
        ({"AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}, "fargate", 30),
        ({"AWS_EXECUTION_ENV": "AWS_ECS_EC2"}, "ecs", 30),
        ({"ECS_CONTAINER_METADATA_URI": "http://169.254.170.2/v3/1"}, "ecs", 30),
        ({"K_SERVICE": "shop", "K_REVISION": "shop-1"}, "cloud-run", 10),
        ({"WEBSITE_SITE_NAME": "shop", "WEBSITE_INSTANCE_ID": "a1"}, "app-service", 5),
        ({"VCAP_APPLICATION": "{}"}, "cloud-foundry", 10),
        ({"NOMAD_ALLOC_ID": "9f8e"}, "nomad", 5),
        ({"DYNO": "web.1"}, "heroku", 30),
        ({"RENDER": "true"}, "render", 30),
        ({"FLY_APP_NAME": "shop", "FLY_MACHINE_ID": "148e"}, "fly", 5),
        ({"RAILWAY_DEPLOYMENT_ID": "ab"}, "railway", 0),
        # What runs on Kubernetes is called by its own name, but for Knative.
        ({"RENDER": "true", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "render", 30),
        ({"K_REVISION": "shop-1", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes", 30),
    ],
)
def test_known_by_its_variables(environ: dict[str, str], name: str, grace: int) -> None:
    found = find_platform(environ)
    assert found is not None
    row, variable = found
    assert (row.name, row.grace_seconds) == (name, grace)
    assert variable in environ
    assert grace_seconds(machine(platform=row.name)) == grace


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"DYNO": ""},
        {"RENDER": "false"},
        {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"},
        {"FLY_APP_NAME": "shop"},  # Set on a developer's machine for flyctl.
        {"RAILWAY_TOKEN": "x"},  # Set where one deploys from.
    ],
)
def test_not_on_one(environ: dict[str, str]) -> None:
    assert find_platform(environ) is None
    assert grace_seconds(machine()) is None


@pytest.mark.parametrize(
    ("value", "seconds"), [("60", 60), (" 0 ", 0), ("", None), ("soon", None), ("-1", None)]
)
def test_a_grace_period_that_a_variable_shows(value: str, seconds: int | None) -> None:
    environ = {"WEBSITE_INSTANCE_ID": "a1", "WEBSITES_CONTAINER_STOP_TIME_LIMIT": value}
    found = find_platform(environ)
    assert found is not None
    assert read_grace_seconds(found[0], environ) == seconds


def test_each_platform_has_one_row_with_a_source() -> None:
    assert sorted(row.name for row in PLATFORMS) == sorted(get_args(Platform))
    assert all(row.source and row.variables for row in PLATFORMS)
