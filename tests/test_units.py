"""Quantities: what people and Kubernetes write, and what is refused with a reason."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from patience import stretched

from gunicorn_autoconf.units import (
    Reserve,
    format_bytes,
    parse_bytes,
    parse_cores,
    parse_count,
    parse_memory,
    parse_reserve,
    parse_seconds,
)

PARSERS: list[Callable[[str], object]] = [
    parse_bytes,
    parse_cores,
    parse_count,
    parse_memory,
    parse_reserve,
    parse_seconds,
]

ARABIC_12 = "\u0661\u0662"  # str.isdigit() and int() take them; a configuration should not.
SUPERSCRIPT_2 = "\u00b2"


def refusal(parse: Callable[[str], object], text: str) -> str:
    """The reason with which *parse* refuses *text*; "" where "no" says it all."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # The caller looks at the message.
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("2", 2.0),
        ("64", 64.0),
        ("1.5", 1.5),
        ("0.25", 0.25),
        (".5", 0.5),
        ("2.", 2.0),
        ("500m", 0.5),
        ("1500m", 1.5),
        ("1m", 0.001),
        ("0.5m", 0.0005),
    ],
)
def test_cores(text: str, cores: float) -> None:
    assert parse_cores(text) == cores


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "0", "0.0", "0m", "-1", "+2", "two", "all", "."),
        *("1.5.2", "1,5", "2 cores", "2c", "500M", "500 m", "1e3", "0x2", "1_0", "2\n", "inf"),
        *("nan", "m", ARABIC_12, SUPERSCRIPT_2, "0." + "0" * 400 + "1", "9" * 400),
    ],
)
def test_refused_cores(text: str) -> None:
    refusal(parse_cores, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("536870912", 536_870_912),
        ("512B", 512),
        ("512b", 512),
        # Kubernetes
        ("512Mi", 536_870_912),
        ("1Gi", 1_073_741_824),
        ("64Ki", 65_536),
        ("1Ti", 1_099_511_627_776),
        ("1Pi", 1_125_899_906_842_624),
        ("1Ei", 1_152_921_504_606_846_976),
        ("512M", 512_000_000),
        ("0.5G", 500_000_000),
        ("1.5Gi", 1_610_612_736),
        ("100k", 100_000),
        ("2T", 2_000_000_000_000),
        # people
        ("512MiB", 536_870_912),
        ("512 MiB", 536_870_912),
        ("512mib", 536_870_912),
        ("512mi", 536_870_912),
        ("512 MB", 512_000_000),
        ("512mb", 512_000_000),
        ("512\tMB", 512_000_000),
        ("2GB", 2_000_000_000),
        (".5Gi", 536_870_912),
        ("100K", 100_000),
        # rounded down, and exact where a float is not
        ("0.1Gi", 107_374_182),
        ("1.9", 1),
        ("9007199254740993", 9_007_199_254_740_993),
    ],
)
def test_bytes(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # Docker reads 512m as 512 MiB, Kubernetes as half a byte.
        ("512m", "'m' is ambiguous, write Mi or M"),
        ("1g", "'g' is ambiguous, write Gi or G"),
        ("1 t", "'t' is ambiguous, write Ti or T"),
        ("1p", "'p' is ambiguous, write Pi or P"),
        ("1e", "'e' is ambiguous, write Ei or E"),
        ("512X", "unknown unit 'X'"),
        ("512MM", "unknown unit 'MM'"),
        ("512MBi", "unknown unit 'MBi'"),
        ("512bb", "unknown unit 'bb'"),
        ("512iB", "unknown unit 'iB'"),
        ("512i", "unknown unit 'i'"),
        ("512 megabytes", "unknown unit 'megabytes'"),
        ("1e3", "not a number with a unit"),
        ("1e3Mi", "not a number with a unit"),
        ("", "not a number with a unit"),
        ("MiB", "not a number with a unit"),
        ("-512Mi", "not a number with a unit"),
        ("+512Mi", "not a number with a unit"),
        ("512 Mi B", "not a number with a unit"),
        ("1,5Gi", "not a number with a unit"),
        ("1_000_000", "not a number with a unit"),
        ("0x20000000", "not a number with a unit"),
        ("512Mi\n", "not a number with a unit"),
        ("50%", "not a number with a unit"),
        (f"{ARABIC_12}Mi", "not a number with a unit"),
    ],
)
def test_refused_bytes(text: str, reason: str) -> None:
    assert refusal(parse_bytes, text) == reason


def test_memory_of_less_than_a_mebibyte_lacks_its_unit() -> None:
    assert parse_memory("1MiB") == 1_048_576
    for text in ("512", "0", "1048575", "1MB"):
        assert refusal(parse_memory, text) == "less than 1 MiB, the unit may be missing"


@pytest.mark.parametrize(
    ("text", "reserved_of_1000_mib"),
    [
        ("10%", 104_857_600),
        ("10 %", 104_857_600),
        ("0%", 0),
        ("12.5%", 131_072_000),
        ("0", 0),
        ("0.0", 0),
        ("0MiB", 0),
        ("64MiB", 67_108_864),
        ("100 MB", 100_000_000),
    ],
)
def test_reserve(text: str, reserved_of_1000_mib: int) -> None:
    assert parse_reserve(text).of(1_048_576_000) == reserved_of_1000_mib


def test_reserve_is_rounded_up() -> None:
    assert parse_reserve("10%").of(1_073_741_824) == 107_374_183


@pytest.mark.parametrize(
    ("reserve", "text"),
    [
        (Reserve(fraction=0.1), "10%"),
        (Reserve(fraction=0.125), "12.5%"),
        (Reserve(fixed_bytes=67_108_864), "64 MiB"),
        (Reserve(), "0 MiB"),
    ],
)
def test_reserve_as_text(reserve: Reserve, text: str) -> None:
    assert str(reserve) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("100%", "not a share from 0% to below 100%"),
        ("250%", "not a share from 0% to below 100%"),
        ("-5%", "not a share from 0% to below 100%"),
        ("%", "not a share from 0% to below 100%"),
        ("10%%", "not a share from 0% to below 100%"),
        ("ten%", "not a share from 0% to below 100%"),
        (f"{ARABIC_12}%", "not a share from 0% to below 100%"),
        ("10", "less than 1 MiB, the unit may be missing"),
        ("0.1", "less than 1 MiB, the unit may be missing"),
        ("64m", "'m' is ambiguous, write Mi or M"),
        ("some", "not a number with a unit"),
    ],
)
def test_refused_reserve(text: str, reason: str) -> None:
    assert refusal(parse_reserve, text) == reason


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("12", 12), ("999999999", 999_999_999)])
def test_count(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "+1", "1.0", "1e3", "four", "auto", "1_0", "0x1", "1\n", ARABIC_12, "9" * 10],
)
def test_refused_count(text: str) -> None:
    refusal(parse_count, text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60.0), ("0.25", 0.25), ("0", 0.0), (".5", 0.5)]
)
def test_seconds(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "-1", "60s", "1m", "1e3", "inf", "nan", "off", "1 ", ARABIC_12, "9" * 400]
)
def test_refused_seconds(text: str) -> None:
    refusal(parse_seconds, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 MiB"),
        (1_048_576, "1 MiB"),
        (88_289_280, "84.2 MiB"),
        (536_870_912, "512 MiB"),
        (1_072_693_248, "1023 MiB"),
        (1_073_741_824, "1 GiB"),
        (1_610_612_736, "1.5 GiB"),
        (1_395_864_371, "1.3 GiB"),
        (549_755_813_888, "512 GiB"),
        (-134_217_728, "-128 MiB"),
    ],
)
def test_bytes_as_text(value: int, text: str) -> None:
    assert format_bytes(value) == text


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "text",
    ["9" * 1_000_000, "9" * 1_000_000 + ".5Gi", " " * 1_000_000, "1" + " " * 1_000_000 + "!"],
    ids=["digits", "fraction", "space", "gap"],
)
def test_a_huge_text_is_refused_at_once(parse: Callable[[str], object], text: str) -> None:
    began = time.perf_counter()
    refusal(parse, text)
    assert time.perf_counter() - began < stretched(5)


NUMBERS = st.from_regex(r"[0-9]{0,320}\.?[0-9]{0,4} ?[kKmMgGtTpPeEiIbB%]{0,3}", fullmatch=True)


def any_text(test: Callable[..., None]) -> Callable[..., None]:
    """Run *test* with any text, those near a quantity above all, and with the largest ones."""
    for text in ("9" * 400, "9" * 400 + ".0", "9" * 308 + ".0Ei", "9" * 400 + "%"):
        test = example(text=text)(test)
    return given(text=st.text() | NUMBERS)(test)


class TestAnyText:
    """Parsers: any text gives a value or the one error."""

    @any_text
    def test_cores(self, text: str) -> None:
        try:
            cores = parse_cores(text)
        except ValueError:
            return
        assert 0 < cores < float("inf")

    @any_text
    def test_bytes(self, text: str) -> None:
        try:
            value = parse_bytes(text)
        except ValueError:
            return
        assert type(value) is int
        assert value >= 0

    @any_text
    def test_memory(self, text: str) -> None:
        try:
            value = parse_memory(text)
        except ValueError:
            return
        assert value >= 1_048_576

    @any_text
    def test_reserve(self, text: str) -> None:
        try:
            reserve = parse_reserve(text)
        except ValueError:
            return
        assert 0 <= reserve.fraction < 1
        assert reserve.fixed_bytes >= 0

    @any_text
    def test_count(self, text: str) -> None:
        try:
            count = parse_count(text)
        except ValueError:
            return
        assert 1 <= count <= 999_999_999

    @any_text
    def test_seconds(self, text: str) -> None:
        try:
            seconds = parse_seconds(text)
        except ValueError:
            return
        assert 0 <= seconds < float("inf")
