"""The kill loop: runs die by SIGKILL and are continued until they end; then the books must balance."""

import json
import os
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.torture.bench import Bench, Ended, Provider, quick_folder, results_of, write_records
from tests.torture.trap import Trap

__all__ = ["Count", "Loop", "torture"]

OPERATIONS = 50
"""About so many operations on files make a run."""
LONGEST = 0.25
"""About so many seconds a run takes."""


@dataclass
class Count:
    """What a loop did, and found, under one policy."""

    rounds: int = 0
    kills: int = 0
    at_operation: int = 0
    """Kills at exactly the n-th operation on a file; the others came at random moments."""
    resumes: int = 0
    requests: int = 0
    lost: int = 0
    twice: int = 0
    """Requests that were billed beyond the first for their record."""
    reported: int = 0
    """`possibly_billed` in the lines."""
    held: int = 0
    wrong: list[str] = field(default_factory=list)


class Loop:
    """Rounds under one policy: an input, kills, and resumes until the run ends by itself."""

    def __init__(self, folder: Path, bench: Bench, provider: Provider, policy: str, *, records: int, seed: int) -> None:
        self._folder, self._bench, self._provider, self._policy = folder, bench, provider, policy
        self._records = records
        self._random = Random(f"{seed}-{policy}")
        self._seed = seed
        self.count = Count()

    def round(self, most: int) -> None:
        """Kill at most so many times, then let the run end, and check."""
        self.count.rounds += 1
        name = f"{self._seed}.{self._policy}.{self.count.rounds}"
        folder = Path(tempfile.mkdtemp(prefix=f"{self._policy}-", dir=self._folder))
        records = self._input(name)
        source, summary = write_records(folder / "in.jsonl", records), folder / "summary.json"
        order: list[object] = [source, "--base-url", self._provider.base_url, "-m", "m", "-c", 16, "-q"]
        order += ["-o", folder / "out.jsonl", "--in-doubt", self._policy, "--summary-file", summary]
        check = _Check(folder, self._policy, self._provider, [record["id"] for record in records])
        kills = runs = 0
        while True:
            runs += 1
            ended = self._killed_run(folder, order) if kills < most else self._bench.run(folder, *order)
            check.after_a_run()
            kills += ended.killed
            if not ended.killed and (ended.code in (0, 7) or runs > most + 3):
                break
        self.count.kills += kills
        self.count.resumes += runs - 1
        check.at_the_end(ended, self.count)

    def _killed_run(self, folder: Path, order: list[object]) -> Ended:
        """Run until it dies, at an operation or at a moment; now and then it ends before."""
        if self._random.random() < 0.5:
            at = self._random.randint(1, OPERATIONS)
            ended = self._bench.run(folder, *order, trap=Trap(at=at, folder=str(folder)))
            self.count.at_operation += ended.killed
            return ended
        return self._bench.run(folder, *order, kill_after=self._random.uniform(0, LONGEST))

    def _input(self, name: str) -> list[dict[str, Any]]:
        """Some records fail the first time they are asked."""
        records = [{"id": f"{name}.{number}", "prompt": f"{name}.{number}"} for number in range(self._records)]
        for record in self._random.sample(records, self._records // 10):
            record["prompt"] += " [[mock:status code=400 times=1]]"
        if self._random.random() < 0.15:
            fault = self._random.choice(("cut", "reset", "status code=500", "status code=503 retry-after=0"))
            self._random.choice(records)["prompt"] += f" [[mock:{fault} times=1]]"
        return records


class _Check:
    """What must hold after each run of a round, and at its end."""

    def __init__(self, folder: Path, policy: str, provider: Provider, ids: list[str]) -> None:
        self._output, self._redo = folder / "out.jsonl", folder / "out.jsonl.state" / "redo.jsonl"
        self._summary = folder / "summary.json"
        self._policy = policy
        self._provider = provider
        self._ids = set(ids)
        self._answered: set[str] = set()
        self._wrong: list[str] = []
        self._billed: Counter[str] = Counter()
        self._bodies: Counter[str] = Counter()
        self._requests = 0
        provider.new_entries()

    def after_a_run(self) -> None:
        """No record that had an answer before the run was asked again by it."""
        entries = self._provider.new_entries()
        self._requests += len(entries)
        for entry in entries:
            id = entry["prompt"].split(" ")[0]
            if id in self._answered:
                self._wrong.append(f"{id} had an answer and was asked again")
            self._billed[id] += entry["billed"]
            self._bodies[entry["key"]] += entry["billed"]
        for path in (self._output, self._redo):
            self._answered |= {line["id"] for line in results_of(path, torn=True) if line["status"] == "ok"}

    def at_the_end(self, ended: Ended, count: Count) -> None:
        """Every record exactly once, or held; and what was paid twice was reported."""
        self.after_a_run()
        lines = {line["id"]: line for line in results_of(self._output)}
        summary = json.loads(self._summary.read_text())
        missing, held = self._ids - lines.keys(), summary["held"]
        failed = [line["id"] for line in lines.values() if line["status"] == "failed"]
        # A record may have its old failure and be held, for what was sent since.
        lost = max(0, len(missing) - held, held - len(missing) - len(failed)) + len(lines.keys() - self._ids)
        twice = {id: billed - 1 for id, billed in self._billed.items() if billed > 1}
        count.lost += lost
        count.held += held
        count.requests += self._requests
        count.twice += sum(twice.values())
        count.reported += sum(line.get("possibly_billed", 0) for line in lines.values())
        for id, times in twice.items():
            reported = lines[id].get("possibly_billed", 0) if id in lines else 0
            if self._policy == "hold" or times > reported:
                self._wrong.append(f"{id} was billed {times + 1} times, {reported} of them reported as possible")
        if self._policy == "hold" and max(self._bodies.values(), default=0) > 1:
            self._wrong.append("a request was billed twice under hold")
        if lost:
            self._wrong.append(f"{lost} records lost: {sorted(missing)[:3]}, held {held}")
        if ended.code != (7 if held else int(bool(failed))) or (held and self._policy == "retry"):
            self._wrong.append(f"exit code {ended.code}, {held} held, failed: {failed}: {ended.stderr}")
        if (self._output.parent / "out.jsonl.state" / "redo.jsonl").exists():
            self._wrong.append("the redo file is still there")
        count.wrong += [f"{self._output}: {what}" for what in self._wrong]


def torture(kills: int, *, records: int = 60, seed: int | None = None, most: int = 5) -> dict[str, Count]:
    """Kill so many times, half under each policy; return what was found, by policy."""
    seed = seed if seed is not None else int.from_bytes(os.urandom(4), "little")
    with (
        quick_folder() as folder,
        closing(Provider(folder, "--latency", "0.005", "--jitter", "0.02")) as provider,
        closing(Bench(folder)) as bench,
    ):
        loops = {
            policy: Loop(folder, bench, provider, policy, records=records, seed=seed) for policy in ("hold", "retry")
        }
        for loop in loops.values():
            while loop.count.kills < kills // 2 and not loop.count.wrong:
                loop.round(most)
            loop.count.wrong[:] = [f"{what} (seed {seed})" for what in loop.count.wrong]
    return {policy: loop.count for policy, loop in loops.items()}
