"""How thorough a run of the tests is: `make test` takes samples where `make deep` takes everything."""

import os

__all__ = ["DEEP", "every", "examples"]

DEEP = bool(os.environ.get("LLMBATCH_TEST_DEEP"))
"""Whether all cases of sampled tests are run, all examples tried, all commands started as new processes."""


def every(step: int) -> int:
    """Return the step for a loop over many like moments: 1 in a deep run."""
    return 1 if DEEP else step


def examples(number: int) -> int:
    """Return how many examples to try of a property for which so many are worth it in a deep run."""
    return number if DEEP else number // 4
