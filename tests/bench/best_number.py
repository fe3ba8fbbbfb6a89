"""Print how a run without flags compares with the openai client at its best fixed number, on modelled services.

`python -m tests.bench.best_number`: in virtual time, so that it measures the rules of pace and not this machine.
"""

import argparse
from collections.abc import Sequence
from statistics import median

from tests.support.service_kinds import KINDS, OTHERS, SLOWER, STRETCHES, times_the_best

__all__ = ["figures"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=7, metavar="N", help="the median, and the longest, of so many")
    parser.add_argument("--slower", action="store_true", help="only kinds on which llmbatch takes longer than that")
    parser.add_argument("--quick", action="store_true", help="search only the numbers that suit each kind")
    given = parser.parse_args()
    seeds = range(21, 21 + given.seeds)
    print("| service and job | a third of the latency | as it is | three times the latency |")
    print("| --- | --- | --- | --- |")
    for name, kind in (SLOWER if given.slower else KINDS | OTHERS | SLOWER).items():
        tried = (times_the_best(kind, stretch, seeds, thorough=not given.quick) for stretch in STRETCHES)
        print(f"| {name} ({kind.records:,} records) |", " | ".join(map(figures, tried)), "|", flush=True)


def figures(times: Sequence[float]) -> str:
    """Show the median, and the longest in brackets."""
    return f"{median(times):.2f} ({max(times):.1f})"


if __name__ == "__main__":
    main()
