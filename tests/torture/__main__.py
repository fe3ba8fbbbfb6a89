"""Kill runs at random moments and at every kind of moment, resume them, and print what came of it: `make torture`."""

import argparse
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.torture.batch_loop import APIS, POLICIES, batch_loop, every_operation
from tests.torture.bench import Bench
from tests.torture.loop import SCENES, torture

parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
parser.add_argument("--kills", type=int, default=1000)
parser.add_argument("--records", type=int, default=60, help="records of each input")
parser.add_argument("--seed", type=int, help="the same kills again, as far as a machine's pace allows")
parser.add_argument(
    "--batches", action=argparse.BooleanOptionalAction, help="only the runs with batches, or none of them"
)
parser.add_argument("--only", choices=SCENES, help="one scene, and no runs with batches")
parser.add_argument("--api", choices=APIS, action="append", help="of the runs with batches only those of this API")
options = parser.parse_args()
scenes = [options.only] if options.only else SCENES


def torture_batches() -> list[str]:
    """Kill runs with batches at every operation; print how many, and return what is wrong."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as home, closing(Bench(Path(home))) as bench, batch_loop(bench) as loop:
        for api in options.api or APIS:
            for policy in POLICIES:
                before = loop.kills
                wrong += every_operation(loop, api, policy)
                print(f"batches, {api}, --in-doubt {policy}: killed at each of {loop.kills - before} operations")
        print(
            f"batches: {loop.kills} kills, {loop.reported} reported as possibly billed, "
            f"{loop.waiting} batches wait for a person, {len(wrong)} wrong"
        )
    return wrong


if options.batches:
    found_wrong = torture_batches()
    for what in found_wrong:
        print("WRONG:", what, file=sys.stderr)
    sys.exit(bool(found_wrong))

began = time.monotonic()
found = torture(options.kills, records=options.records, seed=options.seed, scenes=scenes)
hold, retry = found["hold"], found["retry"]
print(f"{'':42}{'--in-doubt hold':>16}{'--in-doubt retry':>18}")
for what, one, other in (
    ("inputs", hold.rounds, retry.rounds),
    ("kills (SIGKILL)", hold.kills, retry.kills),
    ("  of them at the n-th file operation", hold.at_operation, retry.at_operation),
    *((f"  with {scene}", hold.scenes[scene], retry.scenes[scene]) for scene in scenes),
    ("resumes", hold.resumes, retry.resumes),
    ("requests the provider got", hold.requests, retry.requests),
    ("records lost", hold.lost, retry.lost),
    ("records held in doubt", hold.held, retry.held),
    ("runs refused for damaged intents", hold.refused, retry.refused),
    ("requests billed twice", hold.twice, retry.twice),
    ("  reported as possibly billed", hold.reported, retry.reported),
):
    print(f"{what:42}{one:>16,}{other:>18,}")
found_wrong = hold.wrong + retry.wrong + (torture_batches() if options.batches is None and not options.only else [])
print(f"{time.monotonic() - began:.0f} s")
for what in found_wrong:
    print("WRONG:", what, file=sys.stderr)
sys.exit(bool(found_wrong))
