"""How much slower than at its best a service answers."""

import pytest

from llmbatch.pacing.latency_guard import EACH, SAMPLES, LatencyGuard


def looks(guard: LatencyGuard, latency: float, answers: int) -> list[float]:
    """Note so many answers; return what was found at each look."""
    return [found for _ in range(answers) if (found := guard.slowdown(latency)) is not None]


def test_nothing_is_known_before_there_are_enough_answers() -> None:
    assert looks(LatencyGuard(), 1.0, SAMPLES // 2 - 1) == []


def test_answers_that_take_as_long_as_ever_are_not_slower() -> None:
    assert looks(LatencyGuard(), 3.0, 10 * SAMPLES) == pytest.approx([1.0] * (10 * SAMPLES // EACH - 3), abs=0.05)


@pytest.mark.parametrize("times", [0.5, 1.5, 4.0])
def test_the_median_is_compared_with_the_best_one(times: float) -> None:
    guard = LatencyGuard()
    looks(guard, 2.0, SAMPLES)

    found = looks(guard, 2.0 * times, SAMPLES)

    assert found[0] == pytest.approx(1.0, abs=0.01), "most of the last answers are old ones"
    assert found[-1] == pytest.approx(max(1.0, times), rel=0.02)


def test_one_lucky_minute_does_not_count_for_ever() -> None:
    guard = LatencyGuard()
    looks(guard, 1.0, SAMPLES)

    assert looks(guard, 2.0, 3000 * EACH)[-1] == pytest.approx(1.0, abs=0.01)
