"""Latencies as a row of bars."""

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Histogram", "bar_line", "histogram"]


class Histogram(NamedTuple):
    """Counts of values in bins of equal width on a logarithmic scale, from `low` to `high` in seconds."""

    low: float
    high: float
    counts: Sequence[int]


SHORTEST = 1e-6
"""Seconds. What is shorter, or zero, counts as this: a logarithm needs more than nothing."""


MOST = 16
"""Bins."""
EACH = 4
"""Values for each bin, on average; of fewer a picture would show chance."""


def histogram(values: Sequence[float]) -> Histogram | None:
    """Count values in at most `MOST` bins; None when there are too few of them, or when they are all alike."""
    bins = min(MOST, len(values) // EACH)
    if bins < 2:
        return None
    logs = [math.log(max(SHORTEST, value)) for value in values]
    low, high = min(logs), max(logs)
    if high - low < 1e-3:
        return None
    counts = [0] * bins
    scale = bins / (high - low)
    for value in logs:
        counts[min(bins - 1, int((value - low) * scale))] += 1
    return Histogram(math.exp(low), math.exp(high), counts)


def bar_line(counts: Sequence[int], bars: str) -> str:
    """Draw counts as bars; `bars` are their heights, the first for nothing. What is not nothing is never drawn so."""
    most = max(counts, default=0)
    steps = len(bars) - 1
    return "".join(bars[math.ceil(count / most * steps)] if count else bars[0] for count in counts)
