"""The kill loop: runs die by SIGKILL and are continued until they end; then the books must balance."""

import json
import os
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.torture.bench import Bench, Ended, Provider, results_of, write_records
from tests.torture.trap import Trap

__all__ = ["Count", "Loop", "torture"]

ROUNDS_KILLS = 5
"""So many times at most a run is killed before it may end."""
PATIENCE = 40
"""Runs that a round may take to end."""


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
        self._longest = 0.4
        """Seconds a run takes that nobody kills."""
        self._operations = 60
        self.count = Count()

    def round(self, most: int = ROUNDS_KILLS) -> None:
        """Kill at most so many times, then let the run end, and check."""
        count, random = self.count, self._random
        count.rounds += 1
        folder = Path(tempfile.mkdtemp(prefix=f"{self._policy}-{count.rounds}-", dir=self._folder))
        source = write_records(folder / "in.jsonl", self._input(f"{self._seed}.{self._policy}.{count.rounds}"))
        arguments = (
            source,
            "--base-url",
            self._provider.base_url,
            "-m",
            "m",
            "-o",
            folder / "out.jsonl",
            "-c",
            16,
            "-q",
        )
        check = _Check(
            folder, self._policy, self._provider, [json.loads(line)["id"] for line in source.read_text().splitlines()]
        )
        order: tuple[object, ...] = (*arguments, "--in-doubt", self._policy, "--summary-file", folder / "summary.json")
        kills = runs = 0
        while True:
            trap = kill_after = None
            if kills < most:
                if random.random() < 0.5:
                    trap = Trap(at=random.randint(1, self._operations), folder=str(folder))
                else:
                    kill_after = random.uniform(0, self._longest)
            runs += 1
            began = time.monotonic()
            ended = self._bench.run(folder, *order, trap=trap, kill_after=kill_after)
            if ended.killed:
                kills += 1
                count.at_operation += trap is not None
                check.after_a_kill()
                continue
            if trap is None and kill_after is None:
                self._longest = 0.9 * self._longest + 0.1 * (time.monotonic() - began)
            check.after_a_kill()
            if kills >= most or runs > PATIENCE or ended.code in (0, 7):
                break
        if ended.code == 1:  # what failed for good is tried once more
            runs += 1
            ended = self._bench.run(folder, *order)
        count.kills += kills
        count.resumes += runs - 1
        check.at_the_end(ended, count)

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

    def after_a_kill(self) -> None:
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
        self.after_a_kill()
        lines = {line["id"]: line for line in results_of(self._output)}
        summary = json.loads(self._summary.read_text())
        missing, held = self._ids - lines.keys(), summary["held"]
        lost = abs(len(missing) - held) + len(lines.keys() - self._ids)
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
        failed = any(line["status"] == "failed" for line in lines.values())
        if ended.code != (7 if held else int(failed)) or (held and self._policy == "retry"):
            self._wrong.append(f"exit code {ended.code}, {held} held, failed: {failed}: {ended.stderr}")
        if (self._output.parent / "out.jsonl.state" / "redo.jsonl").exists():
            self._wrong.append("the redo file is still there")
        count.wrong += [f"{self._output}: {what}" for what in self._wrong]


def torture(kills: int, *, records: int = 60, seed: int | None = None, most: int = ROUNDS_KILLS) -> dict[str, Count]:
    """Kill so many times, half under each policy; return what was found, by policy."""
    seed = seed if seed is not None else int.from_bytes(os.urandom(4), "little")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            closing(Provider(folder, "--latency", "0.005", "--jitter", "0.02")) as provider,
            closing(Bench(folder)) as bench,
        ):
            loops = {
                policy: Loop(folder, bench, provider, policy, records=records, seed=seed)
                for policy in ("hold", "retry")
            }
            for policy, loop in loops.items():
                while loop.count.kills < kills // 2 and not loop.count.wrong:
                    loop.round(most)
                loop.count.wrong[:] = [f"{what} (seed {seed})" for what in loop.count.wrong]
    return {policy: loop.count for policy, loop in loops.items()}
