"""A run without flags beside the openai client at the best fixed number for each service, which it is not told."""

from statistics import median

import pytest

from tests.support.deep import DEEP
from tests.support.service_kinds import KINDS, OTHERS, STRETCHES, times_the_best

TIMES = 1.5
SEEDS = range(11, 16) if DEEP else range(11, 14)


@pytest.mark.parametrize("stretch", STRETCHES if DEEP else [1.0])
@pytest.mark.parametrize("kind", [*KINDS, *OTHERS] if DEEP else KINDS)
def test_a_run_without_flags_comes_close_to_the_best_number(kind: str, stretch: float) -> None:
    assert median(times_the_best((KINDS | OTHERS)[kind], stretch, SEEDS, thorough=DEEP)) <= TIMES
