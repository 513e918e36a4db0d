"""The resources and the environment of a container in a pod, as YAML. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gunicorn_autoconf.units import write_bytes, write_cores

# Variables that the kubelet fills with the container's limits. It rounds cores up to a whole
# multiple of the divisor, so that half a core must be counted in thousandths.
# Source: Kubernetes, "Downward API", "Information available via resourceFieldRef".
CPUS_FROM_LIMIT = """\
  - name: LIMIT_MILLICORES
    valueFrom:
      resourceFieldRef:
        resource: limits.cpu
        divisor: "1m"
  - name: GUNICORN_CPUS
    value: "$(LIMIT_MILLICORES)m"
"""
MEMORY_FROM_LIMIT = """\
  - name: GUNICORN_MEMORY
    valueFrom:
      resourceFieldRef:
        resource: limits.memory
        divisor: "1"
"""


def resources(cores: float, memory_bytes: int | None) -> str:
    """
    Return the ``resources`` of a container that has *cores* and, where known, *memory_bytes*.

    Requests equal limits: when a node has promised its memory twice, the kernel takes it back by
    killing processes.
    """
    amounts = f"    cpu: {quoted(write_cores(cores))}\n"
    if memory_bytes is not None:
        amounts += f"    memory: {quoted(write_bytes(memory_bytes))}\n"
    return f"resources:\n  requests:\n{amounts}  limits:\n{amounts}"


def env_entries(variables: Mapping[str, str]) -> str:
    """Return the entries of a container's ``env``; the kubelet expands nothing in the values."""
    # To the kubelet, $$ is a dollar sign.
    texts = {name: quoted(value.replace("$", "$$")) for name, value in variables.items()}
    return "".join(f"  - name: {name}\n    value: {text}\n" for name, text in texts.items())


def quoted(text: str) -> str:
    """
    Return *text* as a YAML string in double quotes, which is never read as a number or a boolean.

    >>> quoted("yes")
    '"yes"'
    """
    # JSON is YAML, except that YAML wants all that is not printable to be escaped.
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in escaped)
