"""Schemas that hold more than they say: closed to other names, and those of Kubernetes."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import yaml


def closed(schema: Any) -> Any:
    """The schema with every object held to the names that it gives."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        inner.setdefault("additionalProperties", False)
    return inner


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
