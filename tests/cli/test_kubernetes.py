"""The YAML for a container: what it says, and that Kubernetes' own schemas take it."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.cli.kubernetes import (
    CPUS_FROM_LIMIT,
    MEMORY_FROM_LIMIT,
    env_entries,
    quoted,
    resources,
)

GIB = 1024**3


def container_of(text: str) -> Any:
    """The container whose entry *text* is, once a whole pod with it is valid."""
    container = {"name": "web", "image": "web", **yaml.safe_load(text)}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [container]},
    }
    kubernetes_validate.validate(pod, "1.31", strict=True)
    return container


def test_resources() -> None:
    assert resources(1.5, GIB) == (
        "resources:\n"
        "  requests:\n"
        '    cpu: "1500m"\n'
        '    memory: "1Gi"\n'
        "  limits:\n"
        '    cpu: "1500m"\n'
        '    memory: "1Gi"\n'
    )


def test_memory_that_is_not_known_is_not_asked_for() -> None:
    container = container_of(resources(2, None))

    assert container["resources"] == {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}


def test_env() -> None:
    variables = {"GUNICORN_WORKLOAD": "io", "GUNICORN_PROC_NAME": "$(HOME) $$"}
    assert env_entries(variables) == (
        "  - name: GUNICORN_WORKLOAD\n"
        '    value: "io"\n'
        "  - name: GUNICORN_PROC_NAME\n"
        '    value: "$$(HOME) $$$$"\n'  # the kubelet expands nothing
    )


def test_schemas_take_it() -> None:
    env = f"env:\n{CPUS_FROM_LIMIT}{MEMORY_FROM_LIMIT}"
    container = container_of(resources(0.25, GIB) + env)

    assert container["resources"]["limits"] == {"cpu": "250m", "memory": "1Gi"}
    names = [variable["name"] for variable in container["env"]]
    assert names == ["LIMIT_MILLICORES", "GUNICORN_CPUS", "GUNICORN_MEMORY"]


def test_schemas_refuse_what_is_wrong() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        container_of('resources: {limits: ["1Gi"]}')


@pytest.mark.parametrize("text", ["yes", "1e3", "0x10", "~", "a: b", "# a", '"', "\\", "$(HOME)"])
def test_text_that_yaml_would_take_for_something_else(text: str) -> None:
    assert yaml.safe_load(quoted(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_read_back(text: str) -> None:
    assert yaml.safe_load(f"value: {quoted(text)}") == {"value": text}
