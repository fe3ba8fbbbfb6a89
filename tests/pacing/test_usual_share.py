"""More refusals than usual are noticed, and what is usual follows what is refused at a lower load."""

import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.pacing.usual_share import UsualShare


def watched(share: float, usual: float, seed: int, departures: int = 2000) -> tuple[int, UsualShare]:
    """Refuse at random; return how often that was too much, and what is usual then."""
    source, refused, cuts = random.Random(seed), list[int](), 0
    one = UsualShare(refused)
    one.value = usual
    for departure in range(departures):
        if source.random() < share:
            refused.append(departure)
            cuts += one.exceeded(departure, departure + 1, 20) is not None
    return cuts, one


def test_each_refusal_is_too_many_where_none_is_usual() -> None:
    cuts, one = watched(0.05, 0.0, seed=3)
    assert cuts > 50 and one.value == 0.0


@pytest.mark.parametrize("share", [0.03, 0.05, 0.1, 0.2])
def test_a_usual_share_is_seldom_too_much(share: float) -> None:
    assert median(watched(share, share, seed)[0] for seed in range(20)) <= 3


@given(st.integers(0, 10_000), st.floats(0.03, 0.15))
def test_three_times_the_usual_share_is_soon_too_much(seed: int, share: float) -> None:
    assert watched(min(0.9, 3 * share + 0.3), share, seed, departures=60)[0] >= 1


def test_what_is_usual_falls_when_nothing_is_refused_after_a_cut() -> None:
    refused = list[int]()
    one = UsualShare(refused)
    one.value = 0.15
    for cycle in range(1, 40):
        refused += range(100 * cycle, 100 * cycle + 6)
        for departure in refused[-6:]:
            one.exceeded(departure, departure + 1, 30)
    assert one.value == 0.0


def test_refusals_in_a_row_show_a_service_that_refuses_all() -> None:
    refused = list(range(100, 112))
    one = UsualShare(refused)
    one.value = 0.3
    found = [one.all_refused(last, since=0) for last in refused]
    assert found[0] is False and found[3] is False and found[-1] is True
    assert not one.all_refused(refused[-1], since=109)


def test_a_service_that_refuses_all_is_seen_however_often_the_load_is_cut() -> None:
    refused = list(range(100, 112))
    one = UsualShare(refused)
    one.value = 0.05
    for last in refused:
        one.cut(last, last + 1, 20)
    assert one.all_refused(refused[-1], since=0)


def test_a_few_in_a_row_do_not_show_that_all_are_refused_where_few_are_usual() -> None:
    one = UsualShare([100, 101, 102, 103])
    one.value = 0.02
    assert not one.all_refused(103, since=0)


@pytest.mark.parametrize("share", [0.15, 0.3])
def test_a_service_that_refuses_its_usual_share_seldom_seems_to_refuse_all(share: float) -> None:
    def seems(seed: int) -> bool:
        source = random.Random(seed)
        refused = [departure for departure in range(2000) if source.random() < share]
        one = UsualShare(refused)
        one.value = share
        return any(one.all_refused(last, since=0) for last in refused)

    assert sum(map(seems, range(10))) <= 2
