"""A run of ten parts on two processes beside the same run into one FILE: seconds, start and verify included.

Run by `make bench-scale`. Against a server that answers after a while both wait for it, with as many requests in flight
together; against one that answers at once each takes what the processors have, the server included.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench import programs, servers

PARTS, PROCESSES, ROUNDS = 10, 2, 3


class Scene(NamedTuple):
    """Seconds until the server answers, requests in flight together, and the share of the records that are sent."""

    after: float
    in_flight: int
    share: float


SCENES = (Scene(0.5, 1000, 0.05), Scene(0.05, 256, 0.1), Scene(0.0, 64, 1.0))


def seconds(command: list[str]) -> float:
    """Run a command to its good end."""
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def measured(scene: Scene, records: int, folder: Path, url: str) -> list[str]:
    """Return the cells of a row: the median of each side, and the median of the ratios of pairs."""
    count = round(records * scene.share)
    source = programs.prompts(folder / "in.jsonl", count)
    pairs = []
    for _ in range(ROUNDS):
        shutil.rmtree(folder / "out", ignore_errors=True)
        run = [sys.executable, "-m", "llmbatch", "run", str(source), "--base-url", url, "-m", "m", "-q"]
        one = [*run, "-o", str(folder / "out.jsonl"), "--overwrite", "-c", str(scene.in_flight)]
        size = ["--part-size", str(-(-count // PARTS)), "--processes", str(PROCESSES)]
        ten = [*run, "-o", f"{folder / 'out'}/", *size, "-c", str(scene.in_flight // PROCESSES)]
        verify = [sys.executable, "-m", "llmbatch", "verify", str(source), "-o"]
        pairs.append(
            [
                seconds(one) + seconds([*verify, str(folder / "out.jsonl")]),
                seconds(ten) + seconds([*verify, f"{folder / 'out'}/"]),
            ]
        )
    ours, theirs = (statistics.median(pair[side] for pair in pairs) for side in (1, 0))
    ratio = statistics.median(ten / one for one, ten in pairs)
    latency = f"after {scene.after * 1000:.0f} ms" if scene.after else "at once"
    return [f"{count:,}", latency, str(scene.in_flight), f"{theirs:.1f} s", f"{ours:.1f} s", f"{ratio:.2f}"]


def table(records: int) -> str:
    """Measure, and return the table."""
    head = ["records", "answered", "in flight", "one FILE", "ten parts, two processes", "ratio"]
    with tempfile.TemporaryDirectory() as folder, servers.nginx() as server:
        rows = [measured(scene, records, Path(folder), server.url(scene.after)) for scene in SCENES]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    print(table(parser.parse_args().records))


if __name__ == "__main__":
    main()
