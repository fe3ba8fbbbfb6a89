"""The power fails at any moment: what is left then is what was synced, and that must do."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmbatch.results import disk, store
from llmbatch.results import journal as journal_module
from llmbatch.results.opening import open_store
from llmbatch.results.resume_policy import Action, ResumePolicy
from tests.results.store_use import answer, job, render
from tests.torture.bench import quick_folder


class Platter:
    """The module `os`, as disk uses it, and what of the files would outlive a power cut."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.durable: dict[str, bytes] = {}
        self.states: list[tuple[dict[str, bytes], set[str], set[str]]] = []
        self.sent: set[str] = set()
        self.written: set[str] = set()
        """Whose answers were written by a call that returned."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and not os.path.exists(path):
            self.durable[str(path)] = b""
        return os.open(path, flags, mode)

    def write(self, fd: int, data: Any) -> int:
        self.remember()
        return os.write(fd, data)

    def fdatasync(self, fd: int) -> None:
        self.remember()
        path = os.readlink(f"/proc/self/fd/{fd}")
        self.durable[path] = Path(path).read_bytes()
        self.remember()

    def rename(self, source: Any, target: Any) -> None:
        os.rename(source, target)
        self.durable[str(target)] = self.durable.pop(str(source))
        self.remember()

    def unlink(self, path: Any) -> None:
        os.unlink(path)
        self.durable.pop(str(path), None)
        self.remember()

    def remember(self) -> None:
        self.states.append((dict(self.durable), set(self.sent), set(self.written)))

    def rebuild(self, durable: dict[str, bytes], folder: Path) -> None:
        for name, content in durable.items():
            path = folder / Path(name).relative_to(self._folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


@pytest.mark.parametrize("fsync", ["always", "batch"])
def test_after_a_power_cut_nothing_synced_is_missing_and_nothing_sent_is_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fsync: str
) -> None:
    here = folder / "run"
    here.mkdir()
    platter = Platter(here)
    monkeypatch.setattr(disk, "os", platter)
    names = [f"n{number}" for number in range(12)]
    for second in (False, True):
        platter.sent.clear()
        with open_store(here / "out.jsonl", fsync=fsync) as opened:
            journal = opened.journal(render, batch=4, rescue_dir=None)
            for start in range(0, 12, 4):
                jobs = [job(name, index, key=index + 1000 * second) for index, name in enumerate(names)][
                    start : start + 4
                ]
                for one in jobs:
                    verdict = opened.decide(one.identity, one.key, ResumePolicy(changed="rerun"))
                    one.redo, one.attempts.possibly_billed = verdict.redo, opened.prior(one.identity, one.key)
                opened.plan(jobs)
                for one in jobs:
                    opened.sent([one])
                    opened.mark_sent()
                    platter.sent.add(f"{one.identity.id} {one.key}")
                    platter.remember()
                    journal.write([answer(one, f"{second}")])
                    if fsync == "always" or one is jobs[-1]:
                        platter.written |= {f"{job.identity.id} {job.key}" for job in jobs[: jobs.index(one) + 1]}
                    platter.remember()
            journal.close()
            opened.finish()
    monkeypatch.setattr(disk, "os", os)
    monkeypatch.setattr(store, "storage_of", lambda folder: b"after the cut...")
    for number, (durable, sent, written) in enumerate(platter.states):
        there = folder / str(number)
        platter.rebuild(durable, there)
        if not (there / "out.jsonl").exists():
            assert not sent
            continue
        with open_store(there / "out.jsonl", fsync="never", hold=True) as opened:
            have = {
                f"{line['id']} {line['key']}"
                for line in map(json.loads, (there / "out.jsonl").read_bytes().splitlines())
            }
            redone = {name.split(" ")[0] for name in have if int(name.split(" ")[1], 16) >> 64 >= 1000}
            for name in written:
                assert name in have or name.split(" ")[0] in redone, f"{name} was durable once, but not at {number}"
            for name in sent - have:
                id, key = name.split(" ")
                one = job(id, names.index(id), key=int(key, 16) >> 64)
                verdict = opened.decide(one.identity, one.key, ResumePolicy(hold=True, changed="rerun"))
                assert verdict.action is not Action.SEND, f"{name} was sent, and forgotten at {number}"


@pytest.mark.parametrize(("fsync", "syncs"), [("always", 4), ("batch", 1), ("never", 0)])
def test_results_are_synced_as_asked(folder: Path, monkeypatch: pytest.MonkeyPatch, fsync: str, syncs: int) -> None:
    synced: list[str] = []
    monkeypatch.setattr(disk, "sync", lambda fd: synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name))
    with open_store(folder / "out.jsonl", fsync=fsync) as opened:
        synced.clear()
        journal = opened.journal(render, batch=4, rescue_dir=None)
        jobs = [job(f"n{number}", number) for number in range(4)]
        opened.plan(jobs)
        assert synced == ([] if fsync == "never" else ["intents"])
        synced.clear()
        for one in jobs:
            journal.write([answer(one)])
        assert synced == ["out.jsonl"] * syncs
        assert not journal.unsynced
        journal.close()


def test_the_marks_are_synced_after_the_results_whose_requests_they_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bytes]] = []

    def sync(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        synced.append((path.name.split("-")[0], path.read_bytes()))

    monkeypatch.setattr(disk, "sync", sync)
    monkeypatch.setattr(journal_module, "SYNC_EVERY", 0)
    with open_store(folder / "out.jsonl", fsync="batch") as opened:
        journal = opened.journal(render, batch=4, rescue_dir=None)
        jobs = [job("a"), job("b", 1)]
        opened.plan(jobs)
        opened.sent(jobs)
        opened.mark_sent()
        synced.clear()
        journal.write([answer(jobs[0])])
        assert [name for name, _ in synced] == ["out.jsonl", "marks"]
        (marks,) = (folder / "out.jsonl.state").glob("marks-*")
        assert synced[-1][1] == marks.read_bytes() and any(synced[-1][1])
        journal.close()
