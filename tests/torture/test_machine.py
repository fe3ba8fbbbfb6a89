"""Any sequence of runs, kills, power cuts, edits, reverts and damage leaves a file that adds up."""

import fcntl
import itertools
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.deep import DEEP
from tests.support.forked_command import start
from tests.torture.bench import ENVIRONMENT, Bench, Provider, World, quick_folder, write_records

_numbers = itertools.count()

WHERE_IT_HURTS = st.integers(27, 50)
"""The operations of a small run between entering an intent and settling it; those before make the state folder."""

UNFIT, FITS = "[[mock:text value=no]]", "[[mock:text value={%22a%22:1}]]"
ANSWERS = ("", f" {UNFIT.removesuffix(']]')} times=1]] {FITS}", f" {UNFIT}")
"""What requests are answered where JSON is asked for: as usual, which is no JSON; unfit once; never fit."""


class Machine(RuleBasedStateMachine):
    """The model: which records there are and how often each was edited, and what the ledger says was billed."""

    bench: Bench
    provider: Provider
    folder: Path

    @initialize(
        policy=st.sampled_from(["hold", "retry"]), dedupe=st.booleans(), as_json=st.booleans(), count=st.integers(1, 6)
    )
    def begin(self, policy: str, dedupe: bool, as_json: bool, count: int) -> None:
        name = f"machine-{next(_numbers)}"
        self.world = World(self.bench, self.provider, self.folder / name, name)
        self.policy, self.dedupe, self.json = policy, dedupe, as_json
        """Under dedupe two records of the same version ask for the same; JSON is asked for once more where it lacks."""
        self.flags = ["--dedupe"] * dedupe + ["--json", "--json-retries", "1"] * as_json
        self.allowed = 1 + as_json
        """How often a request may be billed."""
        self.answered: set[str] = set()
        """Requests whose answer was there once: who reverts to one that was replaced asks for it again."""
        self.unknown = False
        """Whether the counts of earlier attempts were damaged."""
        self.storage = 0
        """How often the power failed."""
        self.versions = {f"r{number}": 0 for number in range(count)}
        self.next = count
        self.billed: Counter[str] = Counter()

    @rule(count=st.integers(1, 3))
    def add(self, count: int) -> None:
        for _ in range(count):
            self.versions[f"r{self.next}"] = 0
            self.next += 1

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        self.change(data.draw(st.sampled_from(sorted(self.versions))), 1)

    @precondition(lambda self: any(self.versions.values()))
    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        self.change(data.draw(st.sampled_from(sorted(id for id, version in self.versions.items() if version))), -1)

    @precondition(lambda self: len(self.versions) > 1)
    @rule(data=st.data())
    def reorder(self, data: st.DataObject) -> None:
        self.versions = {id: self.versions[id] for id in data.draw(st.permutations(sorted(self.versions)))}

    @precondition(lambda self: len(self.versions) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        del self.versions[data.draw(st.sampled_from(sorted(self.versions)))]

    @rule(at=st.integers(1, 75))
    def kill(self, at: int) -> None:
        ended = self.run(trap=self.world.trap(at))
        assert ended.killed or ended.code in self.final

    @rule(at=st.integers(1, 75))
    def cut_the_power(self, at: int) -> None:
        """Only what was synced is left, whose marks are of another boot."""
        ended = self.run(trap=replace(self.world.trap(at), power=True))
        assert ended.killed or ended.code in self.final
        self.storage += ended.killed

    @rule()
    def lose_the_marks(self) -> None:
        for marks in self.world.state.glob("marks-*"):
            marks.unlink()

    @precondition(lambda self: (self.world.state / "intents").exists())
    @rule(data=st.data())
    def damage_the_intents(self, data: st.DataObject) -> None:
        """A refusal under hold, a word under retry, or no harm at all: never a request in silence."""
        intents = self.world.state / "intents"
        before = intents.read_bytes()
        at = data.draw(st.integers(0, max(len(before.rstrip(b"\0")) - 1, 0)))
        cut = data.draw(st.booleans())
        intents.write_bytes(before[:at] if cut else bytes([*before[:at], before[at] ^ 4, *before[at + 1 :]]))
        ended = self.run()
        assert ended.code in self.final or (ended.code == 2 and self.policy == "hold" and "in doubt" in ended.stderr)
        if ended.code == 2:
            assert not self.world.asked()
            intents.write_bytes(before)
        self.unknown = self.unknown or "is not known" in ended.stderr

    @rule(ats=st.lists(WHERE_IT_HURTS, min_size=1, max_size=3))
    def kill_again_and_again(self, ats: list[int]) -> None:
        for at in ats:
            self.kill(at)

    @rule()
    def finish(self) -> None:
        ended = self.run("--summary-file", str(self.world.folder / "summary.json"))
        held = json.loads((self.world.folder / "summary.json").read_text())["held"]
        lines, answers = self.world.results(), self.results()
        missing = {id for id in self.versions if answers.get(id) != self.word(id)}
        failed = {id for id in self.versions.keys() - missing if lines[id]["status"] == "failed"}
        assert len(missing) <= held <= len(missing) + len(failed)
        assert ended.code == (7 if held else 1 if failed else 0)
        assert not held or self.policy == "hold"
        again = self.run()
        assert again.code == ended.code

    @rule()
    def change_options(self) -> None:
        there = self.results()
        if any(there.get(id) == self.word(id) for id in self.versions):
            before = self.world.output.read_bytes()
            assert self.run("--param", "seed=1").code == 2
            assert self.world.output.read_bytes() == before

    @rule()
    def start_two_at_once(self) -> None:
        """One of them runs, the other is refused or comes too late to find anything to do."""
        first, second = self.start(), self.start()
        codes = {first.wait(60), second.wait(60)}
        assert codes <= {*self.final, 75} and codes != {75}

    @precondition(lambda self: (self.world.state / "lock").exists())
    @rule()
    def run_beside_another(self) -> None:
        with self.held():
            assert self.run().code == 75

    @invariant()
    def nothing_is_billed_behind_the_users_back(self) -> None:
        if not hasattr(self, "world"):
            return
        self.billed += self.world.billed()
        if self.policy == "hold":
            assert max(self.billed.values(), default=0) <= self.allowed, self.billed
        self.answered |= set(self.results().values())
        if self.policy == "hold" or self.unknown or self.dedupe:
            return
        answers = self.results()
        for id, line in (self.world.results() if answers else {}).items():
            if id in self.versions and self.word(id) == answers[id]:
                assert self.billed[self.word(id)] - self.allowed <= line.get("possibly_billed", 0)

    @property
    def final(self) -> tuple[int, ...]:
        """The codes of a run that came to its end."""
        return (0, 1, 7) if self.json else (0, 7)

    def run(self, *more: str, trap: Any = None) -> Any:
        storage = f"boot {self.storage}"
        return self.world.run(self.records(), *self.flags, "--in-doubt", self.policy, *more, trap=trap, storage=storage)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run and do not wait for it."""
        world = self.world
        write_records(world.source, [world.own(record) for record in self.records()])
        command = ["run", world.source, *world.to_provider, "-o", world.output, *self.flags, "--in-doubt", self.policy]
        return start([*map(str, command)], env=ENVIRONMENT, stderr=subprocess.DEVNULL)

    def records(self) -> list[dict[str, str]]:
        return [{"id": id, "prompt": self.prompt(id), "asks": self.word(id)} for id in self.versions]

    def change(self, id: str, by: int) -> None:
        """Edit a record, unless that would ask for an answer that was there and was replaced."""
        self.versions[id] += by
        if self.word(id) in self.answered:
            self.versions[id] -= by

    def word(self, id: str) -> str:
        number = int(id[1:])
        return f"r{number - number % 2 if self.dedupe else number}v{self.versions[id]}w"

    def prompt(self, id: str) -> str:
        """Return what is asked; for JSON it depends on record and version what the answers are."""
        return self.word(id) + (ANSWERS[(int(id[1:]) // 2 + self.versions[id]) % 3] if self.json else "")

    def ends_well(self) -> bool:
        data = self.world.output.read_bytes()
        return not data or data.endswith(b"\n")

    def results(self) -> dict[str, str]:
        """Return which request each line answers."""
        if not self.world.output.exists() or not self.ends_well() or self.world.redo.exists():
            return {}
        return {id: line["meta"]["asks"] for id, line in self.world.results().items()}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be another run on the same file."""
        with (self.world.state / "lock").open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def test_whatever_happens_in_whatever_order(bench: Bench, provider: Provider) -> None:
    with quick_folder() as folder:
        machine = type("TheMachine", (Machine,), {"bench": bench, "provider": provider, "folder": folder})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=20 if DEEP else 6,
                stateful_step_count=10,
                deadline=None,
                phases=(Phase.generate,),  # shrinking starts hundreds of runs
                suppress_health_check=list(HealthCheck),
            ),
        )
