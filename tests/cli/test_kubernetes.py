"""The YAML for a container: what it says, and that Kubernetes' own schemas take it."""

from __future__ import annotations

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from schemas import container_of

from gunicorn_autoconf.cli.kubernetes import (
    FROM_THE_LIMITS,
    Resource,
    env_lines,
    literal,
    quoted,
    resource_lines,
)

GIB = 1024**3


def test_resources() -> None:
    assert resource_lines(1.5, GIB) == [
        "resources:",
        "  requests:",
        '    cpu: "1500m"',
        '    memory: "1Gi"',
        "  limits:",
        '    cpu: "1500m"',
        '    memory: "1Gi"',
    ]


def test_memory_that_is_not_known_is_not_asked_for() -> None:
    container = container_of("\n".join(resource_lines(2, None)))

    assert container["resources"] == {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}


def test_env() -> None:
    variables: dict[str, str | Resource] = {
        "GUNICORN_WORKLOAD": "io",
        "GUNICORN_MEMORY": Resource("limits.memory"),
    }
    assert env_lines(variables) == [
        "env:",
        "  - name: GUNICORN_WORKLOAD",
        '    value: "io"',
        "  - name: GUNICORN_MEMORY",
        "    valueFrom:",
        "      resourceFieldRef:",
        "        resource: limits.memory",
        '        divisor: "1"',
    ]


def test_no_variables() -> None:
    assert env_lines({}) == []


def test_schemas_take_it() -> None:
    container = container_of("\n".join([*resource_lines(0.25, GIB), *env_lines(FROM_THE_LIMITS)]))

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


def test_the_kubelet_expands_nothing() -> None:
    assert literal("$(HOME) and $$") == "$$(HOME) and $$$$"
