"""Print what llmbatch does beside its peers, in one run: `make bench`."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench.servers import mock, nginx

HERE = Path(__file__).parent


class Figures(NamedTuple):
    """One run of one program: wall and CPU seconds."""

    wall: float
    cpu: float


def measure(command: list[str], output: Path, records: int) -> Figures:
    """Run a program to its end; stop everything when it did not write every record."""
    output.unlink(missing_ok=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, env=os.environ | {"LLMBATCH_API_KEY": "key"})
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    with output.open("rb") as lines:
        written = sum(1 for _ in lines)
    if written != records:
        sys.exit(f"{command[0]} wrote {written} of {records} records")
    return Figures(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def prompts(path: Path, count: int) -> None:
    """Write records of the usual kind."""
    with path.open("w") as out:
        for number in range(count):
            out.write(json.dumps({"id": number, "prompt": f"Write one sentence about the number {number}."}) + "\n")


def llmbatch(url: str, source: Path, output: Path, workers: int) -> list[str]:
    """Return the command line of ours."""
    run = [sys.executable, "-m", "llmbatch", "run", str(source), "--base-url", url, "-m", "m"]
    return [*run, "-c", str(workers), "-o", str(output), "--overwrite", "-q"]


def instant(folder: Path, rounds: int = 5) -> None:
    """20,000 records, 64 at once, a server that answers at once: ours and the peers in turn."""
    count, source, output = 20_000, folder / "instant.jsonl", folder / "out.jsonl"
    prompts(source, count)
    runs: dict[str, list[Figures]] = {"llmbatch": [], "aiohttp": [], "aiohttp + orjson": []}
    with nginx() as url:
        for _ in range(rounds):
            runs["llmbatch"].append(measure(llmbatch(url, source, output, 64), output, count))
            for name, kind in (("aiohttp", "plain"), ("aiohttp + orjson", "orjson")):
                script = [sys.executable, str(HERE / "aiohttp_pool.py"), kind, url, str(source), str(output), "64"]
                runs[name].append(measure(script, output, count))
    print(f"instant server, 64 workers, {count:,} records, file to file, median of {rounds} rounds")
    print(f"  {'':18} {'records/s':>10} {'us CPU a record':>16} {'llmbatch is faster by':>22}")
    for name, figures in runs.items():
        wall, cpu = median(f.wall for f in figures), median(f.cpu for f in figures)
        ratio = median(f.wall / ours.wall for f, ours in zip(figures, runs["llmbatch"], strict=True))
        print(f"  {name:18} {count / wall:10,.0f} {cpu / count * 1e6:16.0f} {ratio:21.2f}x")


def slow(folder: Path) -> None:
    """10,000 records, 500 at once, a mock that answers after half a second: ideal is 10 s."""
    count, source, output = 10_000, folder / "slow.jsonl", folder / "out.jsonl"
    prompts(source, count)
    with mock("--latency", "0.5") as url:
        figures = measure(llmbatch(url, source, output, 500), output, count)
    ideal = count / 500 * 0.5
    times = figures.wall / ideal
    print(f"0.5 s mock, 500 workers, {count:,} records: {figures.wall:.1f} s, {times:.2f} x ideal (bar: 1.3)")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        instant(Path(name))
        slow(Path(name))
