"""The division of a bar: nothing is lost, and each part is as long as it should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.cli.layout import divide


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
