"""Text that fits a width."""

import re

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from llmbatch.ui.layout import crop, crop_middle, flow, table

TEXT = st.text(st.sampled_from("abc xyz-0123 宽🧪é"), max_size=60)
NUMBERS = st.integers(0, 10**9).map("{:,}".format)
NAMES = ("model", "ok", "failed", "cost", "p50", "p95")


@given(TEXT, st.integers(1, 80))
def test_what_is_cut_fits_and_what_fits_is_not_cut(text: str, width: int) -> None:
    for cut in (crop(text, width), crop_middle(text, width)):
        assert cell_len(cut) <= width
        assert cut == text or cell_len(text) > width


def test_a_name_that_is_cut_keeps_both_ends() -> None:
    assert crop_middle("anthropic/claude-sonnet-4-5-20250929", 24) == "anthropic/cl…-5-20250929"


@given(st.lists(st.text("abc 0123", min_size=1, max_size=20), max_size=12), st.integers(20, 100))
def test_items_flow_in_order_and_are_never_broken(items: list[str], width: int) -> None:
    lines = flow(items, width)
    assert [item for line in lines for item in line.split(" · ")] == items
    assert all(cell_len(line) <= width for line in lines)


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=30), st.integers(10, 40))
def test_an_item_wider_than_the_screen_is_broken_between_its_words(words: list[str], width: int) -> None:
    lines = flow([" ".join(words)], width)
    assert [word for line in lines for word in line.split(" ")] == words
    assert all(cell_len(line) <= width for line in lines)


@given(
    st.lists(st.tuples(TEXT, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=6), st.integers(40, 200)
)
def test_a_table_never_breaks_a_number_and_drops_columns_in_order(rows: list[tuple[str, ...]], width: int) -> None:
    order = ("p95", "p50", "failed")
    head, *lines = table(NAMES, rows, width, drop=order)
    kept = head.split()
    gone = [name for name in order if name not in kept]
    assert gone == list(order[: len(gone)]) and {"model", "ok", "cost"} <= set(kept)
    for row, line in zip(rows, lines, strict=True):
        assert cell_len(line) <= width
        numbers = [row[NAMES.index(name)] for name in kept[1:]]
        assert (
            re.split(r"\s{2,}", line.rstrip())[-len(numbers) :] == numbers or line.split()[-len(numbers) :] == numbers
        )


def test_a_column_without_a_value_is_left_out() -> None:
    assert table(("model", "ok", "cost"), [("a", "1", ""), ("b", "2", "")], 80, drop=()) == [
        "model  ok",
        "a       1",
        "b       2",
    ]
