"""Numbers as people read them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.ui.units import done, duration, money, share


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.0006, "0.6 ms"),
        (0.0083, "8.3 ms"),
        (0.12, "120 ms"),
        (0.9999, "1 s"),
        (1.2345, "1.23 s"),
        (9.8, "9.8 s"),
        (59.99, "1 min"),
        (125, "2 min 5 s"),
        (12_300, "3 h 25 min"),
        (3600, "1 h"),
        (3599.7, "1 h"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(st.floats(0, 1e9))
def test_no_duration_needs_more_than_three_digits_before_its_unit(seconds: float) -> None:
    assert re.fullmatch(r"[\d.,]{1,7} (ms|s|min|h)( \d{1,2} (s|min))?", duration(seconds))


@pytest.mark.parametrize(
    ("dollars", "words"),
    [
        (0, "$0.0000"),
        (0.0214, "$0.0214"),
        (0.00004425, "$0.000044"),
        (0.00099, "$0.00099"),
        (1, "$1.00"),
        (1234.5, "$1,234.50"),
        (1e-15, "$0.000000000000"),
    ],
)
def test_money_shows_what_counts_and_never_an_exponent(dollars: float, words: str) -> None:
    assert money(dollars) == words


@given(st.integers(0, 300), st.integers(1, 300))
def test_all_is_done_only_at_the_end(part: int, whole: int) -> None:
    percent = int(done(min(part, whole) / whole).removesuffix("%"))
    assert percent == 100 * min(part, whole) // whole


@given(st.floats(0, 1))
def test_only_nothing_is_no_percent_and_only_all_is_a_hundred(part: float) -> None:
    assert (share(part) == "0%") == (part == 0) and (share(part) == "100%") == (part == 1)
