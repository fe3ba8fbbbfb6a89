"""Latencies as bars."""

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.ui.histogram import EACH, MOST, bar_line, histogram
from llmbatch.ui.symbols import ASCII, UNICODE


@given(st.lists(st.floats(0, 1e6), max_size=300))
def test_every_value_is_counted_once(values: list[float]) -> None:
    shape = histogram(values)
    if shape is not None:
        assert sum(shape.counts) == len(values) and 2 <= len(shape.counts) <= MOST and shape.low < shape.high


def test_few_values_or_equal_ones_make_no_picture() -> None:
    assert histogram([]) is None and histogram([1.0, 2.0] * (EACH - 1)) is None and histogram([0.5] * 100) is None


def test_the_tallest_bar_is_full_and_a_single_value_is_seen() -> None:
    assert bar_line([0, 1, 1000], UNICODE.bars) == " ▁█"
    assert bar_line([0, 1, 1000], ASCII.bars) == " .@"
    assert bar_line([], UNICODE.bars) == "" and bar_line([0, 0], UNICODE.bars) == "  "
