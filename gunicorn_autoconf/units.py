"""
Quantities as Kubernetes and people write them: cores, bytes, shares, seconds. Pure.

Each ``parse_`` raises ValueError for a text of another form, and for what no machine has.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

# Kubernetes' suffixes (apimachinery, resource.Quantity) and the longer forms that people write.
# Everywhere "i" means a power of 1024 and its absence a power of 1000.
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
_NUMBER = r"(?P<number>\d+(?:\.\d*)?|\.\d+)"
_BYTES = rf"{_NUMBER}\s*(?P<unit>[A-Za-z]*)"

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

# What no machine has; beyond it the arithmetic of floats ends in errors.
MAX_BYTES = 2**63
MAX_CORES = 1_000_000
MAX_RATE = 1e9
MAX_DURATION_SECONDS = 86_400


def parse_cores(text: str) -> float:
    """
    Return cores from ``2``, ``1.5`` or Kubernetes' ``500m``.

    >>> parse_cores("500m")
    0.5
    """
    number, unit = _number_and_unit(text, "m?")
    return _above_0(number / (1000 if unit else 1), MAX_CORES)


def parse_bytes(text: str) -> int:
    """
    Return bytes from ``536870912``, ``512Mi``, ``512MiB``, ``0.5G`` or ``500 MB``, rounded down.

    A suffix with *i* counts in 1024, without it in 1000. A single lower-case letter is refused
    except ``k``: Docker reads ``512m`` as 512 MiB, Kubernetes as half a byte.

    >>> parse_bytes("512Mi"), parse_bytes("0.5G")
    (536870912, 500000000)
    """
    found = re.fullmatch(_BYTES, text, re.ASCII)
    if found is None:
        raise ValueError("not a number with a unit")
    number, unit = found["number"], found["unit"]
    letter, rest = unit[:1].lower(), unit[1:].lower()
    if letter == "b":
        letter, rest = "", unit.lower()
    if (
        letter not in _POWERS
        or rest not in ("", "b", "i", "ib")
        or (rest[:1] == "i" and not letter)
    ):
        raise ValueError(f"unknown unit {unit!r}")
    if unit in ("m", "g", "t", "p", "e"):
        raise ValueError(f"{unit!r} is ambiguous, write {unit.upper()}i or {unit.upper()}")
    base = 1024 if rest.startswith("i") else 1000
    # A number without a fraction stays exact above 2**53.
    value = (float(number) if "." in number else int(number)) * base ** _POWERS[letter]
    if value > MAX_BYTES:
        raise ValueError("more than any machine has")
    return int(value)


def parse_memory(text: str) -> int:
    """Return bytes as `parse_bytes` does, at least 1 MiB: of less the unit must be missing."""
    value = parse_bytes(text)
    if value < MIB:
        raise ValueError("less than 1 MiB, the unit may be missing")
    return value


class Reserve(NamedTuple):
    """A part of a limit: a fraction of it, or a fixed number of bytes."""

    fraction: float = 0.0
    fixed_bytes: int = 0

    def of(self, limit_bytes: int) -> int:
        """The reserve under a limit of *limit_bytes*, in bytes, rounded up."""
        return self.fixed_bytes + math.ceil(limit_bytes * self.fraction)

    def __str__(self) -> str:
        """As `parse_reserve` reads it."""
        return f"{self.fraction * 100:.10g}%" if self.fraction else format_bytes(self.fixed_bytes)


def parse_reserve(text: str) -> Reserve:
    """Return the reserve from a share below ``100%``, ``0`` or a quantity such as ``64MiB``."""
    if text.endswith("%"):
        share = text[:-1].strip()
        if not re.fullmatch(_NUMBER, share, re.ASCII) or float(share) >= 100:
            raise ValueError("not a share from 0% to below 100%")
        return Reserve(fraction=float(share) / 100)
    value = parse_bytes(text)
    if value < MIB and re.search("[1-9]", text):
        raise ValueError("less than 1 MiB, the unit may be missing")
    return Reserve(fixed_bytes=value)


def parse_count(text: str) -> int:
    """Return a whole number of at least 1."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError
    return int(text)


def parse_seconds(text: str) -> float:
    """Return seconds from ``60`` or ``0.25``; 0 turns a thing off."""
    seconds, _ = _number_and_unit(text)
    if not seconds < math.inf:
        raise ValueError
    return seconds


def parse_duration(text: str) -> float:
    """
    Return seconds, up to a day, from ``80ms`` or ``0.08s``: without a unit, 80 could be either.

    >>> parse_duration("80ms")
    0.08
    """
    number, unit = _number_and_unit(text, r"\s*m?s")
    return _above_0(number / (1000 if unit == "ms" else 1), MAX_DURATION_SECONDS)


def parse_time(text: str) -> float:
    """
    Return seconds, up to a day, from ``60``, ``90s``, ``10m`` or ``1h``.

    >>> parse_time("10m")
    600.0
    """
    number, unit = _number_and_unit(text, r"\s*[smh]?")
    seconds = number * {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
    if not seconds <= MAX_DURATION_SECONDS:
        raise ValueError
    return seconds


def parse_rate(text: str) -> float:
    """Return requests per second from ``300`` or ``0.5``."""
    return _above_0(_number_and_unit(text)[0], MAX_RATE)


def parse_utilisation(text: str) -> float:
    """
    Return a share of time from ``0.7`` or ``70%``, between 0.1 and 0.9.

    Where servers are busy for a share *u* of the time, those who wait are in proportion to
    u / (1 - u): 2.3 at 0.7, 9 at 0.9, without bound near 1.
    """
    number, unit = _number_and_unit(text, r"\s*%?")
    share = number / (100 if unit else 1)
    if not 0.1 <= share <= 0.9:
        raise ValueError
    return share


def _number_and_unit(text: str, units: str = "") -> tuple[float, str]:
    """Return the number in *text* and what follows it, which must match *units*."""
    found = re.fullmatch(rf"{_NUMBER}(?P<unit>{units})", text, re.ASCII)
    if found is None:
        raise ValueError
    return float(found["number"]), found["unit"].strip()


def _above_0(value: float, most: float) -> float:
    if not 0 < value <= most:
        raise ValueError
    return value


def format_bytes(value: int) -> str:
    """
    Return *value* in MiB, GiB from 1 GiB on or TiB from 1 TiB on, with no more digits than matter.

    >>> format_bytes(536870912), format_bytes(1610612736), format_bytes(100 * 2**40)
    ('512 MiB', '1.5 GiB', '100 TiB')
    """
    if abs(value) < GIB:
        return f"{round(value / MIB, 1):g} MiB"
    if abs(value) < TIB:
        return f"{round(value / GIB, 2):g} GiB"
    return f"{round(value / TIB, 2):g} TiB"


def write_bytes(value: int) -> str:
    """
    Return *value* exactly, as Kubernetes writes it and `parse_bytes` reads it.

    >>> write_bytes(536870912), write_bytes(1000)
    ('512Mi', '1000')
    """
    for unit, suffix in ((GIB, "Gi"), (MIB, "Mi"), (KIB, "Ki")):
        if value and value % unit == 0:
            return f"{value // unit}{suffix}"
    return str(value)


def write_cores(cores: float) -> str:
    """
    Return *cores* in thousandths, rounded up, as Kubernetes writes it and `parse_cores` reads it.

    >>> write_cores(2.0), write_cores(1.5)
    ('2', '1500m')
    """
    # 1.1 * 1000 is a little more than 1100.
    thousandths = max(math.ceil(round(cores * 1000, 6)), 1)
    whole, rest = divmod(thousandths, 1000)
    return f"{thousandths}m" if rest else str(whole)


def format_latency(seconds: float) -> str:
    """
    Return *seconds* in ms below 1 s, with three digits.

    >>> format_latency(0.0604), format_latency(1.3)
    ('60.4 ms', '1.3 s')
    """
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def rounded(value: float | None, digits: int = 6) -> float | None:
    """Return *value* with so many digits after the point; None for what is not known."""
    return None if value is None else round(value, digits)


def plural(count: float, noun: str) -> str:
    """A count and what is counted."""
    return f"{count:g} {noun}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    r"""
    Return *text* as every log and terminal can show it, on one line.

    A path, a cgroup's name and what a client sends may hold any byte.

    >>> printable("a\nb")
    'a\\nb'
    """
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
