"""A wall and scattered refusals are distinguished by the share of refusals when less is sent."""

import random

import pytest

from llmbatch.pacing.refusal_pattern import Pattern, RefusalPattern


def scattered(share: float, seed: int, departures: int = 600) -> RefusalPattern:
    """Refuse at random, whatever is sent; every refusal is known three departures later."""
    source, pattern, refused = random.Random(seed), RefusalPattern(), list[int]()
    for sent in range(1, departures):
        if sent >= pattern.due:
            pattern.finish(sent)
        if refused and refused[0] <= sent - 3:
            pattern.refused(refused.pop(0), sent)
        if source.random() < share:
            refused.append(sent - 1)
    return pattern


@pytest.mark.parametrize("share", [0.03, 0.05, 0.1, 0.15, 0.2])
def test_refusals_at_random_are_seen_to_be_scattered(share: float) -> None:
    found = [scattered(share, seed).pattern for seed in range(60)]
    assert found.count(Pattern.SCATTERED) >= 0.75 * len(found)


def test_a_row_of_refusals_is_a_wall_at_once() -> None:
    pattern = RefusalPattern()
    found = [pattern.refused(100 + departure, 110) for departure in range(8)]
    assert found[5] is not Pattern.WALL and found[-1] is Pattern.WALL


def walls(share: float) -> int:
    """Count the services of forty that seem to have a wall while a share is refused at random."""
    found = 0
    for seed in range(40):
        source, pattern = random.Random(seed), RefusalPattern()
        for sent in range(10, 200):
            if source.random() < share and pattern.pattern is Pattern.UNKNOWN:
                pattern.refused(sent - 1, sent, early=True)
        found += pattern.pattern is Pattern.WALL
    return found


def test_only_where_most_is_refused_is_that_a_wall_without_a_trial() -> None:
    assert walls(0.25) <= 6 and walls(0.6) >= 36


def test_a_first_request_that_is_refused_is_a_wall() -> None:
    assert RefusalPattern().refused(0, 1) is Pattern.WALL


@pytest.mark.parametrize("seed", range(20))
def test_refusals_that_vanish_with_the_load_are_never_scattered(seed: int) -> None:
    source, pattern = random.Random(seed), RefusalPattern()
    for sent in range(1, 3000):
        if sent >= pattern.due:
            pattern.finish(sent)
        if pattern.pattern is not Pattern.TRIAL and source.random() < 0.2:
            pattern.refused(sent - 1, sent)
        assert pattern.pattern is not Pattern.SCATTERED


def test_a_server_that_nobody_can_reach_is_a_wall_at_once() -> None:
    assert RefusalPattern().refused(70, 80, common=True) is Pattern.WALL


def test_refusals_that_stay_few_while_the_load_doubles_are_scattered() -> None:
    pattern = RefusalPattern()
    for count, in_flight in enumerate((10, 12, 16, 19), 1):
        found = pattern.refused(20 * count, 20 * count + 5, in_flight, growing=True)
        assert found is Pattern.UNKNOWN
    assert pattern.refused(100, 105, 24, growing=True) is Pattern.SCATTERED


def test_many_refusals_of_few_departures_start_a_trial_while_the_load_grows() -> None:
    pattern = RefusalPattern()
    pattern.refused(5, 7, 6, growing=True)
    assert pattern.refused(7, 9, 6, growing=True) is Pattern.TRIAL


@pytest.mark.parametrize("late", [0, 10])
def test_a_trial_counts_only_departures_whose_refusals_would_have_come(late: int) -> None:
    pattern = RefusalPattern()
    for departure in (5, 7):
        pattern.refused(departure, departure + 2 + late, 6, growing=True)
    begin = 9 + late
    assert pattern.finish(begin + 6 + late) is Pattern.TRIAL
    assert pattern.finish(begin + 20 + late) is not Pattern.TRIAL


def walled() -> RefusalPattern:
    """Refuse nine in a row."""
    pattern = RefusalPattern()
    for departure in range(96, 105):
        pattern.refused(departure, 110)
    return pattern


@pytest.mark.parametrize(("level", "raises"), [(0.4, True), (0.65, True), (0.9, False)])
def test_a_wall_that_refuses_single_requests_is_tried_with_more_load_where_the_load_is_low(
    level: float, raises: bool
) -> None:
    pattern = walled()
    found = [pattern.refused(departure, departure + 3, 10, level=level) for departure in range(125, 245, 20)]
    assert found == [Pattern.WALL] * 5 + [Pattern.TRIAL]
    assert pattern.raises is raises


def test_a_wall_that_refuses_every_second_of_a_low_load_is_doubted() -> None:
    pattern = walled()
    found = [pattern.refused(departure, departure + 1, 2, level=0.3) for departure in range(111, 123, 2)]
    assert found == [Pattern.WALL] * 5 + [Pattern.TRIAL]


def test_a_wall_that_refuses_a_low_load_in_a_row_stands() -> None:
    pattern = walled()
    assert [pattern.refused(departure, departure + 1, 2, level=0.6) for departure in range(111, 119)] == [
        Pattern.WALL
    ] * 8


def test_a_wall_at_one_request_in_flight_is_tried_with_more_load() -> None:
    pattern = walled()
    found = [pattern.refused(departure, departure + 1, 1, level=1.0) for departure in range(111, 129, 3)]
    assert found == [Pattern.WALL] * 5 + [Pattern.TRIAL] and pattern.raises


@pytest.mark.parametrize(("in_flight", "last"), [(1, 8), (2, 24)])
def test_each_trial_that_found_a_wall_makes_the_next_one_rarer_but_not_without_end_for_one_in_flight(
    in_flight: int, last: int
) -> None:
    pattern, sent = walled(), 112
    for doubts in (6, min(last, 12), last):
        found = [pattern.refused(sent + 20 * n, sent + 20 * n + 1, in_flight, level=0.3) for n in range(doubts)]
        assert found == [Pattern.WALL] * (doubts - 1) + [Pattern.TRIAL]
        sent += 20 * (doubts - 1) + 1
        while pattern.pattern is Pattern.TRIAL:
            pattern.refused(sent, sent + 1, 4)
            sent += 1
        sent += 20


def doubled(share: float, seed: int) -> Pattern:
    """Refuse single requests behind a wall until the load is doubled, and then a share at random."""
    source, pattern = random.Random(seed), walled()
    for departure in range(112, 130, 3):
        pattern.refused(departure, departure + 1, 2, level=0.3)
    for sent in range(129, 400):
        if sent >= pattern.due:
            pattern.finish(sent)
        if pattern.pattern is Pattern.TRIAL and source.random() < share:
            pattern.refused(sent - 1, sent, 4)
    return pattern.pattern


def test_refusals_that_keep_their_share_at_twice_the_load_are_scattered() -> None:
    found = [doubled(0.15, seed) for seed in range(40)]
    assert found.count(Pattern.SCATTERED) >= 0.6 * len(found)


def test_two_refusals_of_more_load_are_too_few_for_a_wall() -> None:
    pattern = RefusalPattern()
    for departure in (2, 5):
        pattern.refused(departure, departure + 1, 6, growing=True)
    found = [pattern.refused(departure, departure + 1, 8, growing=True) for departure in range(6, 10)]
    assert found == [Pattern.TRIAL] * 3 + [Pattern.WALL]


def test_a_wall_that_refuses_most_of_twice_the_load_stands() -> None:
    found = [doubled(0.7, seed) for seed in range(40)]
    assert found.count(Pattern.WALL) >= 0.8 * len(found)


def usually_refused() -> RefusalPattern:
    """Make refusals known as scattered: few while the load doubles."""
    pattern = RefusalPattern()
    for count, in_flight in enumerate((10, 12, 16, 19, 24), 1):
        pattern.refused(20 * count, 20 * count + 1, in_flight, growing=True)
    assert pattern.pattern is Pattern.SCATTERED
    return pattern


def test_four_in_a_row_are_no_wall_where_refusals_are_usual_but_a_long_row_is() -> None:
    pattern = usually_refused()
    found = [pattern.refused(departure, departure + 1, 24, growing=False) for departure in range(120, 123)]
    assert Pattern.WALL not in found
    for departure in range(123, 135):
        last = pattern.refused(departure, departure + 1, 24, growing=False)
    assert last is Pattern.WALL


def test_more_than_the_usual_share_starts_a_trial_with_more_load_while_the_load_grows() -> None:
    pattern = usually_refused()
    departure = 120
    while pattern.pattern is Pattern.SCATTERED:
        pattern.refused(departure, departure + 1, 24, growing=True)
        departure += 2
    assert pattern.pattern is Pattern.TRIAL and pattern.raises


def test_more_than_the_usual_share_asks_for_less_load_at_once_where_the_load_does_not_grow() -> None:
    pattern = usually_refused()
    asked = 0
    for departure in range(120, 160, 2):
        assert pattern.refused(departure, departure + 1, 24) is Pattern.SCATTERED
        asked += pattern.exceeds_share(departure + 1, 24)
    assert 2 <= asked <= 10


def test_a_service_that_refuses_all_is_a_wall_although_the_load_is_lowered_meanwhile() -> None:
    pattern = usually_refused()
    for departure in range(120, 132):
        found = pattern.refused(departure, departure + 1, 24)
        pattern.exceeds_share(departure + 1, 24)
    assert found is Pattern.WALL


def test_refusals_that_vanish_at_a_lower_load_were_a_wall_s_after_all() -> None:
    pattern = usually_refused()
    for burst in range(200, 8000, 100):  # each lowers the load, and then nothing is refused
        for departure in range(burst, burst + 3):
            found = pattern.refused(departure, departure + 1, 24)
            pattern.exceeds_share(departure + 1, 24)
        if found is Pattern.WALL:
            break
    assert found is Pattern.WALL and pattern.share == 0.0


def test_a_trial_with_more_load_that_is_refused_bounds_the_load_and_leaves_what_is_usual() -> None:
    pattern = usually_refused()
    departure = 120
    while pattern.pattern is Pattern.SCATTERED:
        pattern.refused(departure, departure + 1, 24, growing=True)
        departure += 2
    usual = pattern.share
    for sent in range(departure, departure + 400):
        if sent >= pattern.due:
            pattern.finish(sent)
        if pattern.pattern is Pattern.TRIAL and sent % 4:
            pattern.refused(sent - 1, sent, 40)
    assert pattern.pattern is Pattern.SCATTERED and pattern.bounded and pattern.share == usual


def test_a_wall_that_refuses_now_and_then_stands() -> None:
    pattern = walled()
    found = [pattern.refused(departure, departure + 3, 10) for departure in range(200, 4000, 100)]
    assert set(found) == {Pattern.WALL}


def test_a_first_request_that_is_refused_says_nothing_of_the_load() -> None:
    pattern = RefusalPattern()
    assert pattern.refused(0, 1) is Pattern.WALL
    pattern.reopened(2)
    assert pattern.pattern is Pattern.UNKNOWN


def walled_by(refused: set[int], quick: int) -> RefusalPattern:
    """Refuse these departures: the first ones leave in quick succession at a high load, the others at a low one."""
    pattern, now = RefusalPattern(), 0.0
    for number in range(max(refused) + 1):
        now += 0.01 if number < quick else 0.2
        pattern.departures.departed(now, 60 if number < quick else 10)
        if number in refused:
            pattern.refused(number, number + 1, level=0.8)
    return pattern


WALL = set(range(70, 78))


def test_a_wall_is_none_if_it_refuses_less_than_it_admitted_at_a_smaller_rate_too() -> None:
    assert walled_by({50, *WALL}, 80).pattern is Pattern.WALL
    assert walled_by({50, *WALL, 90}, 80).pattern is Pattern.SCATTERED


def test_a_wall_stands_that_refuses_less_than_it_admitted_before_its_first_refusal() -> None:
    assert walled_by({*WALL, 90}, 80).pattern is Pattern.WALL


@pytest.mark.parametrize(("in_flight", "found"), [(2, Pattern.WALL), (1, Pattern.SCATTERED)])
def test_a_wall_found_in_a_spell_of_refusals_is_contradicted_by_what_was_admitted_before_it(
    in_flight: int, found: Pattern
) -> None:
    pattern, sent, now = RefusalPattern(), 0, 0.0

    def leave(count: int, load: int, gap: float) -> None:
        nonlocal sent, now
        for _ in range(count):
            now += gap
            pattern.departures.departed(now, load)
            sent += 1

    for _ in range(2):  # with many in flight one in forty is refused
        leave(40, 40, 0.02)
        pattern.refused(sent - 1, sent, 40, growing=True, early=True)
    for _ in range(20):
        leave(1, 10, 0.3)
        pattern.refused(sent - 1, sent, 10)
    assert pattern.pattern is Pattern.WALL
    for _ in range(2):
        leave(6, in_flight, 1.0)
        pattern.refused(sent - 1, sent, in_flight)

    assert pattern.pattern is found
