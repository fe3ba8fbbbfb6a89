"""Print how a run without flags compares with the openai client at its best fixed number, on services made at random.

`python -m tests.bench.random_services --first 1000`: in virtual time. No rule was tuned to a service that nobody has
drawn, so that new numbers tell how it goes on services that nobody has modelled.
"""

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import geometric_mean, median
from typing import NamedTuple

from llmbatch.core.outcome import Outcome
from tests.bench.best_number import figures
from tests.support.clients import Watched, llmbatch_takes
from tests.support.random_services import random_service
from tests.support.service_kinds import best_time

TIMES = 1.5
"""A run should take no more than so many times as long as the best number."""


class Row(NamedTuple):
    """One service."""

    number: int
    name: str
    times: list[float]
    """How many times as long as the best number it takes, for each seed."""
    refused: float
    """The share of requests that was refused, over all seeds."""
    failed: int
    """Records without an answer, over all seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, metavar="N", help="so many services")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first one")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="the median, and the longest, of so many")
    given = parser.parse_args()
    numbers, seeds = range(given.first, given.first + given.count), range(21, 21 + given.seeds)
    print("| number | times the best | refused | without an answer | service and job |")
    print("| --- | --- | --- | --- | --- |")
    rows: list[Row] = []
    with ProcessPoolExecutor(os.cpu_count()) as executor:
        for row in executor.map(partial(measured, seeds=seeds), numbers):
            rows.append(row)
            print(
                f"| {row.number} | {figures(row.times)} | {row.refused:.1%} | {row.failed} | {row.name} |", flush=True
            )
    medians = [median(row.times) for row in rows]
    print(f"\nOver {TIMES} times the best: {sum(times > TIMES for times in medians)} of {len(rows)} services.")
    print(
        f"Geometric mean: {geometric_mean(medians):.3f}. Records without an answer: {sum(row.failed for row in rows)}."
    )


def measured(number: int, seeds: Sequence[int]) -> Row:
    """Measure the service of a number, with some seeds."""
    name, kind = random_service(number)
    best = best_time(kind, 1.0, seeds, thorough=True)
    times, failed, watched = list[float](), list[Outcome](), list[Watched]()
    for seed in seeds:
        watched.append(Watched(kind.service(seed, 1.0)))
        times.append(llmbatch_takes(kind.records, watched[-1], seed, failed=failed) / best)
    refused = sum(each.refused for each in watched) / sum(each.sent for each in watched)
    return Row(number, name, times, refused, len(failed))


if __name__ == "__main__":
    main()
