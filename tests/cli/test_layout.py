"""The layout of what the commands print: nothing is lost, nothing is cut."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.cli.layout import divide, hanging, items, sections


@pytest.mark.parametrize(
    ("amounts", "width", "lengths"),
    [
        ([1, 1, 2], 8, [2, 2, 4]),
        ([1, 1, 1], 4, [1, 2, 1]),
        ([0, 5, 0], 3, [0, 3, 0]),
        ([1, 999], 10, [0, 10]),
        ([0, 0], 10, [0, 0]),
        ([], 10, []),
    ],
)
def test_divide(amounts: list[int], width: int, lengths: list[int]) -> None:
    assert divide(amounts, width) == lengths


@given(
    st.lists(st.integers(0, 2**63), min_size=1).filter(any),
    st.integers(0, 200),
)
def test_each_part_is_as_long_as_its_share(amounts: list[int], width: int) -> None:
    lengths = divide(amounts, width)

    assert sum(lengths) == width
    for amount, length in zip(amounts, lengths, strict=True):
        assert length >= 0
        assert abs(length * sum(amounts) - amount * width) <= sum(amounts)


def test_sections_without_lines_are_left_out() -> None:
    shown = sections(("One", ["  1"]), ("None", []), ("Two", iter(["  2", "  3"])))

    assert click.unstyle(shown) == "One\n  1\n\nTwo\n  2\n  3\n"


def test_text_hangs_beside_its_head() -> None:
    assert hanging("  limit  ", "word " * 20) == [
        "  limit  word word word word word word word word word word word word word word",
        "         word word word word word word",
    ]


def test_a_word_that_is_too_long_goes_below_and_stays_whole() -> None:
    path = f"/sys/{'a' * 80}"

    assert hanging("  limit  ", f"in {path}") == ["  limit", "      in", f"      {path}"]


def test_items() -> None:
    assert list(items(["one", "two " * 20])) == [
        "  - one",
        "  - two two two two two two two two two two two two two two two two two two two",
        "    two",
    ]
