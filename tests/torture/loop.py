"""The kill loop: runs die by SIGKILL and are continued until they end; then the accounts must add up."""

import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.support.forked_command import start
from tests.torture.bench import ENVIRONMENT, Bench, Ended, Provider, quick_folder, results_of, write_records
from tests.torture.trap import Trap

__all__ = ["SCENES", "Count", "Loop", "torture"]

OPERATIONS = 120
"""About so many operations on files make a run."""
LONGEST = 0.25
"""About so many seconds a run takes."""

PLAIN, EDITS, DEDUPE, JSON = "kills alone", "edits, reverted too", "--dedupe, reordered", "--json-retries 1"
SHARED = "failures that --dedupe shares"
DAMAGE, MARKS, POWER, RACE = "damaged intents", "lost marks", "power cuts", "a second run at the same moment"
SCENES = (PLAIN, EDITS, DEDUPE, JSON, SHARED, DAMAGE, MARKS, POWER, RACE)
"""What happens besides kills."""
REORDERED = (DEDUPE, SHARED)
UNREPORTED = (EDITS, DAMAGE)
"""Where under retry the lines of a request do not tell all that was paid for it."""
FLAGS = {
    DEDUPE: ("--dedupe",),
    JSON: ("--json", "--json-retries", "1"),
    SHARED: ("--dedupe", "--json", "--json-retries", "1"),
}
FITS, UNFIT, NEVER_FITS = (f"[[mock:text value={answer}]]" for answer in ("{%22a%22:1}", "no times=1", "no"))
ANSWERS = (f" {UNFIT} {FITS}", f" {NEVER_FITS}", f" {FITS}")


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
    """Requests that were billed beyond the first for their record, where nothing allowed that."""
    reported: int = 0
    """`possibly_billed` in the lines."""
    held: int = 0
    refused: int = 0
    """Runs that were refused because it was not known what is in doubt."""
    wrong: list[str] = field(default_factory=list)
    scenes: Counter[str] = field(default_factory=Counter)
    """Kills by scene."""


class Loop:
    """Rounds under one policy: an input, kills, and resumes until the run ends by itself."""

    def __init__(
        self,
        folder: Path,
        bench: Bench,
        provider: Provider,
        policy: str,
        *,
        records: int,
        seed: int,
        scenes: Sequence[str] = SCENES,
    ) -> None:
        self._folder, self._bench, self._provider, self._policy = folder, bench, provider, policy
        self._records, self._scenes = records, scenes
        self._random = Random(f"{seed}-{policy}")
        self._seed = seed
        self.count = Count()

    def round(self, most: int) -> None:
        """Kill at most so many times, then let the run end, and check."""
        scene = self._scenes[self.count.rounds % len(self._scenes)]
        self.count.rounds += 1
        name = f"{self._seed}.{self._policy}.{self.count.rounds}"
        folder = Path(tempfile.mkdtemp(prefix=f"{self._policy}-", dir=self._folder))
        records = self._input(name, scene)
        source, summary = write_records(folder / "in.jsonl", records), folder / "summary.json"
        order: list[object] = [source, "--base-url", self._provider.base_url, "-m", "m", "-c", 16, "-q"]
        order += ["-o", folder / "out.jsonl", "--in-doubt", self._policy, "--summary-file", summary]
        order += FLAGS.get(scene, ())
        check = _Check(folder, self._policy, self._provider, records, scene)
        kills = runs = 0
        while True:
            runs += 1
            storage = f"storage {runs}" if scene == POWER else None
            beside = self._start_beside(folder, order) if scene == RACE and kills < most else None
            if kills < most:
                ended = self._killed_run(folder, order, storage, power=scene == POWER)
            else:
                ended = self._bench.run(folder, *order, storage=storage)
            if beside is not None:
                check.exit_of_another(beside.wait(60))
            check.after_a_run()
            kills += ended.killed
            if scene == DAMAGE and ended.code == 2:
                self.count.refused += 1
                break
            if not ended.killed and (ended.code in check.final or runs > most + 3):
                break
            self._disturb(folder, source, records, check, scene)
        self.count.kills += kills
        self.count.scenes[scene] += kills
        self.count.resumes += runs - 1
        check.at_the_end(ended, self.count)

    def _killed_run(self, folder: Path, order: list[object], storage: str | None, *, power: bool) -> Ended:
        """Run until it dies, at an operation or at a moment; now and then it ends before."""
        if power or self._random.random() < 0.5:
            trap = Trap(at=self._random.randint(1, OPERATIONS), folder=str(folder), power=power)
            ended = self._bench.run(folder, *order, trap=trap, storage=storage)
            self.count.at_operation += ended.killed
            return ended
        return self._bench.run(folder, *order, kill_after=self._random.uniform(0, LONGEST), storage=storage)

    def _start_beside(self, folder: Path, order: list[object]) -> "subprocess.Popen[bytes]":
        command = ["run", *map(str, order)]
        return start(command, env=ENVIRONMENT, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _disturb(self, folder: Path, source: Path, records: list[dict[str, Any]], check: "_Check", scene: str) -> None:
        """Do to the input or to the state what the scene is about."""
        state = folder / "out.jsonl.state"
        if scene == EDITS:
            for record in records:
                if self._random.random() < 0.3:
                    check.edit(record)
            write_records(source, records)
        elif scene in REORDERED:
            self._random.shuffle(records)
            write_records(source, records)
        elif scene == MARKS and self._random.random() < 0.5:
            for path in state.glob("marks-*"):
                path.unlink()
        elif scene == DAMAGE and self._random.random() < 0.5 and (state / "intents").exists():
            content = bytearray((state / "intents").read_bytes())
            used = len(content.rstrip(b"\0"))
            how = self._random.choice(("empty", "cut", "bit"))
            at = self._random.randrange(max(used, 1))
            if how == "bit" and used:
                content[at] ^= 1 << self._random.randrange(8)
            else:
                del content[0 if how == "empty" else at :]
            (state / "intents").write_bytes(content)

    def _input(self, name: str, scene: str) -> list[dict[str, Any]]:
        """Some records fail the first time they are asked."""
        records = [{"id": f"{name}.{number}", "prompt": f"{name}.{number}"} for number in range(self._records)]
        if scene in REORDERED:
            for record in records[1::2]:
                record["prompt"] = self._random.choice(records[::2])["prompt"]
            if scene == SHARED:
                answers = {record["prompt"]: self._random.choice(ANSWERS) for record in records}
                for record in records:
                    record["prompt"] += answers[record["prompt"]]
            return records
        for record in self._random.sample(records, self._records // 10):
            record["prompt"] += f" {UNFIT}" if scene == JSON else " [[mock:status code=400 times=1]]"
        if scene not in (JSON, EDITS) and self._random.random() < 0.15:
            fault = self._random.choice(("cut", "reset", "status code=500", "status code=503 retry-after=0"))
            self._random.choice(records)["prompt"] += f" [[mock:{fault} times=1]]"
        if scene == JSON:
            for record in records:
                record["prompt"] += f" {FITS}"
        return records


class _Check:
    """What must hold after each run of a round, and at its end."""

    def __init__(
        self, folder: Path, policy: str, provider: Provider, records: list[dict[str, Any]], scene: str
    ) -> None:
        self._output, self._redo = folder / "out.jsonl", folder / "out.jsonl.state" / "redo.jsonl"
        self._summary = folder / "summary.json"
        self._policy = policy
        self._scene = scene
        self._provider = provider
        self._ids = {record["id"] for record in records}
        self._asks = {record["id"]: _asks(record["prompt"]) for record in records}
        """The request of each record, under `--dedupe` one for several."""
        self.final = (0, 1, 7) if scene == SHARED else (0, 7)
        """How a run ends after which there is nothing left to send."""
        self._answered: set[str] = set()
        self._was_answered: set[tuple[str, bool]] = set()
        """Records that were answered once, and whether as edited."""
        self._wrong: list[str] = []
        self._billed: Counter[str] = Counter()
        self._bodies: Counter[str] = Counter()
        self._requests = 0
        provider.new_entries()

    def exit_of_another(self, code: int) -> None:
        """Note how a run ended that was started at the same moment."""
        if code not in (0, 1, 7, 75):
            self._wrong.append(f"a second run ended with {code}")

    def edit(self, record: dict[str, Any]) -> None:
        """Edit a record, or revert that, unless that would ask for an answer that was there and was replaced."""
        edited = not record["prompt"].endswith(" edited")
        if (record["id"], edited) not in self._was_answered:
            record["prompt"] = record["prompt"] + " edited" if edited else record["prompt"].removesuffix(" edited")

    def after_a_run(self) -> None:
        """No record that had an answer before the run was asked again by it."""
        entries = self._provider.new_entries()
        self._requests += len(entries)
        for entry in entries:
            request = _asks(entry["prompt"])
            if request in self._answered and self._scene not in (EDITS, POWER):
                self._wrong.append(f"{request} had an answer and was asked again")
            self._billed[request] += entry["billed"]
            self._bodies[entry["key"]] += entry["billed"]
        for path in (self._output, self._redo):
            for line in _lines(path):
                if line["status"] == "ok":
                    self._answered.add(self._asks[line["id"]])
                    self._was_answered.add((line["id"], " edited" in line["text"]))

    def at_the_end(self, ended: Ended, count: Count) -> None:
        """Every record exactly once, or held; and what was paid twice was reported."""
        self.after_a_run()
        count.requests += self._requests
        allowed = 2 if self._scene in (JSON, SHARED) else 1
        over = {body: billed - allowed for body, billed in self._bodies.items() if billed > allowed}
        if self._policy == "hold" or self._scene not in UNREPORTED:
            count.twice += sum(over.values())
        if over and self._policy == "hold":
            self._wrong.append(f"{len(over)} requests were billed more than once under hold")
        if ended.code != 2:
            self._check_lines(ended, count, allowed)
        count.wrong += [f"{self._scene}: {self._output}: {what}" for what in self._wrong]

    def _check_lines(self, ended: Ended, count: Count, allowed: int) -> None:
        lines = {line["id"]: line for line in results_of(self._output)}
        held = json.loads(self._summary.read_text())["held"]
        missing = self._ids - lines.keys()
        failed = [line["id"] for line in lines.values() if line["status"] == "failed"]
        # A record may have its old failure, or the answer to another version, and be held, for what was sent since.
        surplus = 0 if self._scene == EDITS else held - len(missing) - len(failed)
        lost = max(0, len(missing) - held, surplus) + len(lines.keys() - self._ids)
        count.lost += lost
        count.held += held
        if self._scene not in UNREPORTED:
            count.reported += sum(line.get("possibly_billed", 0) for line in lines.values())
        reported: Counter[str] = Counter()
        for id, line in lines.items():
            reported[self._asks[id]] += line.get("possibly_billed", 0)
        for request, billed in self._billed.items():
            if self._scene not in UNREPORTED and billed - allowed > (told := reported[request]):
                self._wrong.append(f"{request} was billed {billed} times, {told} of them reported as possible")
        if lost:
            self._wrong.append(f"{lost} records lost: {sorted(missing)[:3]}, held {held}")
        if ended.code != (7 if held else int(bool(failed))) or (held and self._policy == "retry"):
            self._wrong.append(f"exit code {ended.code}, {held} held, failed: {failed}: {ended.stderr}")
        if self._redo.exists():
            self._wrong.append("the redo file is still there")


def _asks(prompt: str) -> str:
    """Name a request by the first word of its prompt."""
    return prompt.split(" ")[0]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a file, of which a record may have several in the redo file."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line] if path.exists() else []


def torture(
    kills: int, *, records: int = 60, seed: int | None = None, most: int = 5, scenes: Sequence[str] = SCENES
) -> dict[str, Count]:
    """Kill so many times, half under each policy; return what was found, by policy."""
    seed = seed if seed is not None else int.from_bytes(os.urandom(4), "little")
    with (
        quick_folder() as folder,
        closing(Provider(folder, "--latency", "0.005", "--jitter", "0.02")) as provider,
        closing(Bench(folder)) as bench,
    ):
        loops = {
            policy: Loop(folder, bench, provider, policy, records=records, seed=seed, scenes=scenes)
            for policy in ("hold", "retry")
        }
        for loop in loops.values():
            while loop.count.kills < kills // 2 and not loop.count.wrong:
                loop.round(most)
            loop.count.wrong[:] = [f"{what} (seed {seed})" for what in loop.count.wrong]
    return {policy: loop.count for policy, loop in loops.items()}
