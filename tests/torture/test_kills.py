"""A short kill loop for every test run; the long one is `make torture`."""

import pytest

from tests.torture.loop import torture


def test_forty_kills_lose_nothing_and_pay_nothing_twice_unreported() -> None:
    found = torture(44)
    assert sum(count.kills for count in found.values()) >= 40
    assert found["hold"].wrong + found["retry"].wrong == []
    assert found["hold"].lost == found["retry"].lost == found["hold"].twice == 0
    assert found["retry"].twice <= found["retry"].reported


@pytest.mark.parametrize("seed", [1])
def test_a_resume_may_be_killed_again_and_again(seed: int) -> None:
    found = torture(16, records=20, seed=seed, most=8)
    assert found["hold"].wrong + found["retry"].wrong == []
