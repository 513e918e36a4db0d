"""What a container's entry in a pod says of its resources and its environment, as YAML. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gunicorn_autoconf.units import write_bytes, write_cores


class Resource(NamedTuple):
    """
    A number that the kubelet hands over by the downward API.

    Attributes:
        resource: Which of the container's numbers, such as ``limits.memory``.
        divisor: The unit in which it is counted, rounded up: ``1`` is a byte or a core.

    Source:
        Kubernetes, "Downward API", "Information available via resourceFieldRef".
    """

    resource: str
    divisor: str = "1"


# Cores come as a whole number only, so that half a core must be counted in thousandths; a variable
# may refer to one that stands before it.
_MILLICORES = "LIMIT_MILLICORES"
FROM_THE_LIMITS: Mapping[str, str | Resource] = {
    _MILLICORES: Resource("limits.cpu", "1m"),
    "GUNICORN_CPUS": f"$({_MILLICORES})m",
    "GUNICORN_MEMORY": Resource("limits.memory"),
}


def resource_lines(cores: float, memory_bytes: int | None) -> list[str]:
    """
    Return the ``resources`` of a container that has *cores* and *memory_bytes*, and no more.

    What is asked for is what is granted: memory that a node has promised twice is memory that the
    kernel takes back by killing. Without a known memory size only cores are asked for.
    """
    amounts = [f"cpu: {quoted(write_cores(cores))}"]
    if memory_bytes is not None:
        amounts.append(f"memory: {quoted(write_bytes(memory_bytes))}")
    lines = ["resources:"]
    for kind in ("requests", "limits"):
        lines += [f"  {kind}:", *(f"    {amount}" for amount in amounts)]
    return lines


def env_lines(variables: Mapping[str, str | Resource]) -> list[str]:
    """
    Return the ``env`` of a container, or nothing where there are no *variables*.

    A text is taken as the kubelet takes it: ``$(NAME)`` refers to a variable before it. `literal`
    makes one that refers to nothing.
    """
    lines = ["env:"] if variables else []
    for name, value in variables.items():
        lines.append(f"  - name: {name}")
        lines += _value_lines(value)
    return lines


def _value_lines(value: str | Resource) -> Iterable[str]:
    if isinstance(value, str):
        return [f"    value: {quoted(value)}"]
    return [
        "    valueFrom:",
        "      resourceFieldRef:",
        f"        resource: {value.resource}",
        f"        divisor: {quoted(value.divisor)}",
    ]


def literal(text: str) -> str:
    """Return *text* for `env_lines` with nothing in it that the kubelet would expand."""
    return text.replace("$", "$$")


def quoted(text: str) -> str:
    """
    Return *text* as a YAML string in double quotes, which no reader takes for a number or a switch.

    >>> quoted("yes")
    '"yes"'
    """
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\u{code:04x}"
