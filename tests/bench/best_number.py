"""Print how a run without flags compares with the openai client at its best fixed number, on modelled services.

`python -m tests.bench.best_number`: in virtual time, so that it measures the rules of pace and not this machine.
"""

import argparse
from statistics import median

from tests.support.service_kinds import KINDS, OTHERS, SLOWER, STRETCHES, times_the_best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=7, metavar="N", help="the median of so many")
    seeds = range(21, 21 + parser.parse_args().seeds)
    print("| service and job | a third of the latency | as it is | three times the latency |")
    print("| --- | --- | --- | --- |")
    for name, kind in (KINDS | OTHERS | SLOWER).items():
        figures = (median(times_the_best(kind, stretch, seeds, thorough=True)) for stretch in STRETCHES)
        print(
            f"| {kind.records:,} records, {name} |", " | ".join(f"{figure:.2f}" for figure in figures), "|", flush=True
        )


if __name__ == "__main__":
    main()
