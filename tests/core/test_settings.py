"""How many failures are too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.settings import Tolerance


def test_none_tolerates_everything() -> None:
    assert not Tolerance.parse("none").exceeded(10**9, 10**9)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_a_count_is_exceeded_by_more(count: int, failed: int) -> None:
    assert Tolerance.parse(str(count)).exceeded(failed, 10_000) is (failed > count)


@given(st.integers(0, 1000), st.integers(0, 5000), st.integers(1, 5000))
def test_a_share_is_exact_to_the_last_record(permille: int, failed: int, total: int) -> None:
    tolerance = Tolerance.parse(f"{permille // 10}.{permille % 10}%")
    assert tolerance.exceeded(failed, total) is (failed * 1000 > permille * total)


@pytest.mark.parametrize(
    ("share", "failed", "total"),
    [("29%", 29, 100), ("57%", 57, 100), ("0.7%", 7, 1000), ("1.1%", 11, 1000), ("7%", 7, 100), ("100%", 5, 5)],
)
def test_a_share_that_is_met_exactly_is_not_exceeded(share: str, failed: int, total: int) -> None:
    tolerance = Tolerance.parse(share)
    assert not tolerance.exceeded(failed, total) and (failed == total or tolerance.exceeded(failed + 1, total))


def test_nothing_done_exceeds_no_share() -> None:
    assert not Tolerance.parse("0%").exceeded(0, 0)


@pytest.mark.parametrize("text", ["", "%", "-1", "1.5", "-1%", "101%", "nan%", "inf%", "1/3%", "1/0%", "many", "None"])
def test_nonsense_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        Tolerance.parse(text)
