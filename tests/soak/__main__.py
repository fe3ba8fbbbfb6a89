"""Run for minutes against random faults, latencies, limits and kills; then the accounts must add up: `make soak`.

The first part is one long run whose memory, descriptors and tasks are watched; after it runs are killed at random
moments and continued, until every record has its answer. The provider's ledger is the judge.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from tests.torture.bench import Provider, results_of

A_MINUTE = 5000
"""Records; 100,000 in 20 minutes."""
PROVIDER = (
    "--latency",
    "0.2",
    "--jitter",
    "0.8",
    "--fault-rate",
    "0.05",
    "--rpm",
    "6600",
    "--concurrency-limit",
    "150",
)
ODD = ("hang times=1", "drip times=1", "cut times=1", "junk-status times=1", "huge-headers times=1", "bad-gzip")
"""What one prompt in two hundred orders beside the random faults."""
LONG_RUN = 0.8
"""The part of the records that the first, watched run answers."""
AT_ONCE = 140
"""In flight, where no limit is looked for: a pace that finds itself takes every refusal to heart, random ones too."""
GROWTH, EACH = 8_000_000, 150
"""Bytes that may come on top once the run has warmed up, and for each record."""


class Soak:
    """One soak: an input, its results file, and the runs that fill it."""

    def __init__(self, folder: Path, minutes: float, seed: int) -> None:
        self._random = Random(seed)
        self.records = int(minutes * A_MINUTE)
        self.source, self.out, self.samples = folder / "in.jsonl", folder / "out.jsonl", folder / "samples.jsonl"
        with self.source.open("w") as file:
            for number in range(self.records):
                odd = f" [[mock:{self._random.choice(ODD)}]]" if self._random.random() < 0.005 else ""
                file.write(json.dumps({"id": number, "prompt": f"{number} of many{odd}"}) + "\n")
        self.runs = self.kills = 0

    def start(self, base_url: str, *more: object) -> "subprocess.Popen[bytes]":
        """Start one more run on the results file."""
        self.runs += 1
        command = [sys.executable, "-m", "tests.soak.watched", self.samples, "run", self.source, "-o", self.out]
        command += ["--base-url", base_url, "-m", "m", "--timeout", "10", "--max-outage", "60", "-q", *more]
        stderr = self.out.with_name(f"stderr-{self.runs}").open("wb")
        with stderr:
            return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=stderr)

    def fill(self, base_url: str) -> int:
        """Run to the end, by way of one long run and many short lives; return the last exit code."""
        self.start(base_url, "-c", AT_ONCE, "--limit", int(self.records * LONG_RUN)).wait()
        ended = False
        while not ended:
            run = self.start(base_url, "-c", self._random.choice((AT_ONCE, "auto")))
            try:
                run.wait(self._random.uniform(1.0, 15.0))
                ended = True
            except subprocess.TimeoutExpired:
                run.send_signal(self._random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
                self.kills += 1
                run.wait()
        for _ in range(5):  # those whose every attempt failed
            if (code := self.start(base_url).wait()) == 0:
                break
        return code


def judge(soak: Soak, provider: Provider, code: int, seconds: float) -> list[str]:
    """Print what happened; return what must not have."""
    entries = provider.new_entries()
    billed = Counter(int(entry["prompt"].split(" ")[0]) for entry in entries if entry["billed"])
    lines = {line["id"]: line for line in results_of(soak.out)}
    twice = {id: times - 1 for id, times in billed.items() if times > 1}
    reported = {id: line.get("possibly_billed", 0) for id, line in lines.items()}
    unreported = sum(max(0, times - reported.get(id, 0)) for id, times in twice.items())
    lost = soak.records - len(lines)
    failed = Counter(line["error"]["kind"] for line in lines.values() if line["status"] == "failed")
    statuses = Counter(str(entry["status"]) for entry in entries)
    samples = [json.loads(line) for line in soak.samples.read_bytes().split(b"\n") if line]
    first = samples[0]["pid"]
    watched = [sample for sample in samples if sample["pid"] == first and "rss" in sample]
    growth, answered = grown(watched), int(soak.records * LONG_RUN)
    left_tasks = sum(sample.get("left_tasks", 0) for sample in samples)
    left_sockets = sum(sample.get("left_sockets", 0) for sample in samples)
    rows: list[tuple[str, Any]] = [
        ("records", soak.records),
        ("runs, of them killed", f"{soak.runs:,}, {soak.kills:,}"),
        ("requests", len(entries)),
        ("  by status", ", ".join(f"{status} {number:,}" for status, number in statuses.most_common())),
        ("lines", len(lines)),
        ("  failed", ", ".join(f"{kind} {number:,}" for kind, number in failed.items()) or 0),
        ("records lost", lost),
        ("billed twice, by the ledger", sum(twice.values())),
        ("  not reported in possibly_billed", unreported),
        ("memory of the long run, first and last tenth", ", ".join(f"{size / 1e6:.1f} MB" for size in ends(watched))),
        ("  grown by, a record", f"{growth / max(1, answered):.0f} B"),
        ("descriptors of the long run, most", max(sample["fds"] for sample in watched)),
        ("tasks of the long run, most", max(sample["tasks"] for sample in watched)),
        ("tasks and sockets left behind by a run that ended", f"{left_tasks}, {left_sockets}"),
        ("time", f"{seconds:.0f} s"),
    ]
    for name, value in rows:
        print(f"{name:52}{value if isinstance(value, str) else format(value, ','):>28}")
    wrong = {
        "records are lost": lost != 0,
        "something was paid twice and not reported": unreported > 0,
        f"memory grew by {growth / 1e6:.1f} MB": growth > GROWTH + EACH * answered,
        "tasks were left behind": left_tasks != 0,
        "sockets were left behind": left_sockets != 0,
        f"records failed that need not: {dict(failed)}": bool(failed.keys() - {"unparsable"}),
        f"the last run ended with {code}": code not in (0, 1),
    }
    return [what for what, is_so in wrong.items() if is_so]


def ends(watched: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the memory of the second and of the last tenth of a run: the first is warming up."""
    tenth = max(1, len(watched) // 10)
    sizes = [sample["rss"] for sample in watched]
    return median(sizes[tenth : 2 * tenth] or sizes), median(sizes[-tenth:])


def grown(watched: list[dict[str, Any]]) -> float:
    """Return by how many bytes memory grew between those two."""
    first, last = ends(watched)
    return last - first


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    given = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as name,
        closing(Provider(Path(name), *PROVIDER, "--seed", str(given.seed))) as provider,
    ):
        soak = Soak(Path(name), given.minutes, given.seed)
        code = soak.fill(provider.base_url)
        wrong = judge(soak, provider, code, time.monotonic() - began)
    for what in wrong:
        print(f"WRONG: {what} (seed {given.seed})", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
