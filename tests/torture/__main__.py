"""Kill runs at random moments and at every kind of moment, resume them, and print what came of it: `make torture`."""

import argparse
import sys
import time

from tests.torture.loop import SCENES, torture

parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
parser.add_argument("--kills", type=int, default=1000)
parser.add_argument("--records", type=int, default=60, help="records of each input")
parser.add_argument("--seed", type=int, help="the same kills again, as far as a machine's pace allows")
options = parser.parse_args()

began = time.monotonic()
found = torture(options.kills, records=options.records, seed=options.seed)
hold, retry = found["hold"], found["retry"]
print(f"{'':42}{'--in-doubt hold':>16}{'--in-doubt retry':>18}")
for what, one, other in (
    ("inputs", hold.rounds, retry.rounds),
    ("kills (SIGKILL)", hold.kills, retry.kills),
    ("  of them at the n-th file operation", hold.at_operation, retry.at_operation),
    *((f"  with {scene}", hold.scenes[scene], retry.scenes[scene]) for scene in SCENES),
    ("resumes", hold.resumes, retry.resumes),
    ("requests the provider got", hold.requests, retry.requests),
    ("records lost", hold.lost, retry.lost),
    ("records held in doubt", hold.held, retry.held),
    ("runs refused for damaged intents", hold.refused, retry.refused),
    ("requests billed twice", hold.twice, retry.twice),
    ("  reported as possibly billed", hold.reported, retry.reported),
):
    print(f"{what:42}{one:>16,}{other:>18,}")
print(f"{time.monotonic() - began:.0f} s")
for wrong in hold.wrong + retry.wrong:
    print("WRONG:", wrong, file=sys.stderr)
sys.exit(bool(hold.wrong or retry.wrong))
