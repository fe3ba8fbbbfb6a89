"""Intents are read again after a crash, or their loss is reported."""

import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbatch.core.errors import UsageError
from llmbatch.results import disk, intent_file, store
from llmbatch.results.intents import MOST, SETTLED, Intent, Intents
from llmbatch.results.opening import open_store
from llmbatch.results.resume_policy import Action, ResumePolicy
from tests.results.store_use import answer, job, render
from tests.support.deep import examples
from tests.torture.bench import quick_folder

HERE, ELSEWHERE = b"here" * 4, b"elsewhere......."
"""Names of storage: where marks were set, and another boot or mount."""


def left_in(folder: Path, storage: bytes = HERE) -> dict[int, int]:
    """Return the marks by identity."""
    return {intent.identity: mark for intent, mark in Intents.open(folder, storage)[1].entries}


@settings(max_examples=examples(60), deadline=None)
@given(st.dictionaries(st.integers(1, 60), st.sampled_from([0, 1, 2, MOST, SETTLED]), max_size=30), st.booleans())
def test_intents_come_back_as_they_were_left(model: dict[int, int], lost: bool) -> None:
    with quick_folder() as folder:
        intents, left = Intents.open(folder, HERE)
        assert list(left.entries) == [] and left.damage is None
        intents.begin([])
        for identity, mark in model.items():
            place = intents.plan([Intent(identity, identity, False)], [0], sync=False)
            if mark == SETTLED:
                intents.settle([place])
            else:
                intents.mark([(place, 1000 if mark == MOST else mark)])
        kept = {intent.identity: mark for intent, mark in intents.left()}
        assert kept == {identity: mark for identity, mark in model.items() if 0 < mark < SETTLED}
        intents.close()
        again, left = Intents.open(folder, ELSEWHERE if lost else HERE)
        found = list(left.entries)
        expected = {identity: (mark if 0 < mark < SETTLED else 1) if lost else mark for identity, mark in model.items()}
        assert {intent.identity: mark for intent, mark in found} == expected and left.damage is None
        again.begin(found)
        again.close()


def test_more_records_than_the_map_had_room_for_keep_their_marks() -> None:
    with quick_folder() as folder:
        intents, _ = Intents.open(folder, HERE)
        intents.begin([(Intent(1, 1, True), 7)])
        for number in range(300):
            first = intents.plan([Intent(number * 1000 + n, n, False) for n in range(2, 1000)], [0] * 998, sync=False)
            intents.mark([(first, 3)])
        assert len(intents.left()) == 301
        intents.close()
        assert sum(mark == 3 for mark in left_in(folder).values()) == 300


@pytest.mark.parametrize("magic", [b"llmbint9", b"LLMBINT4"])
def test_intents_of_another_version_are_refused(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "intents").write_bytes(magic + bytes(100))
    with pytest.raises(UsageError, match="another version"):
        Intents.open(tmp_path, HERE)


def planned(folder: Path) -> dict[int, int]:
    """Plan in three batches; return the marks by identity, as they are set in the end."""
    intents, _ = Intents.open(folder, HERE)
    intents.begin([(Intent(1, 1, False), 2)])
    marks = {1: 2, 2: 1, 3: SETTLED, 4: 0, 5: 1, 6: 1, 7: 0}
    for batch in ((2, 3), (4, 5), (6, 7)):
        first = intents.plan([(identity, identity, False) for identity in batch], [0, 0], sync=True)
        for place, identity in enumerate(batch, first):
            intents.mark([(place, marks[identity])])
    intents.sync_marks()
    intents.close()
    return marks


def check_known(folder: Path, marks: dict[int, int], storage: bytes = HERE) -> None:
    """Whatever was sent is in doubt, or it is said that it is not known what is."""
    try:
        left = Intents.open(folder, storage, begun=True)[1]
    except UsageError:
        return
    found = {intent.identity: mark for intent, mark in left.entries}
    for identity, mark in marks.items():
        if left.damage is None and 0 < mark < SETTLED:
            assert 0 < found.get(identity, 0) < SETTLED, f"{identity} was sent, and forgotten in silence"


def test_a_copy_of_the_files_may_be_older_than_what_was_sent(tmp_path: Path) -> None:
    """A folder that was copied during a run and is put back after it: only what was planned in it is known."""
    state, copied = tmp_path / "state", tmp_path / "copied"
    state.mkdir()
    intents, _ = Intents.open(state, HERE)
    intents.begin([(Intent(1, 1, False), 2)])
    intents.plan([(2, 2, False), (3, 3, False)], [0, 0], sync=True)
    shutil.copytree(state, copied)
    intents.mark([(1, 1)])
    intents.close()
    assert left_in(state) == {1: 2, 2: 1, 3: 0}
    shutil.rmtree(state)
    copied.rename(state)
    assert left_in(state) == {1: 2, 2: 1, 3: 1}


def test_marks_can_be_set_in_a_file_that_somebody_cut(tmp_path: Path) -> None:
    """In mapped memory that would be a SIGBUS, as on a full disk that copies on write."""
    intents, _ = Intents.open(tmp_path, HERE)
    intents.begin([])
    intents.plan([(2, 2, False), (3, 3, False)], [0, 0], sync=True)
    (marks,) = tmp_path.glob("marks-*")
    marks.write_bytes(b"")
    intents.mark([(1, 1)])
    intents.close()
    assert left_in(tmp_path) == {2: 1, 3: 1}, "a mark that is gone counts as sent"


SIZE = intent_file.HEADER_SIZE + 7 * intent_file.ENTRY_SIZE


@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["intents", "marks"]),
    st.integers(0, SIZE - 1),
    st.sampled_from(["bit 0", "bit 3", "bit 7", "cut", "zeros", "empty", "gone"]),
    st.sampled_from([HERE, ELSEWHERE]),
)
def test_damage_to_intents_or_marks_never_hides_what_was_sent(name: str, at: int, how: str, storage: bytes) -> None:
    with quick_folder() as folder:
        marks = planned(folder)
        (path,) = folder.glob(f"{name}*")
        content = bytearray(path.read_bytes())
        at %= SIZE if name == "intents" else 2 * len(marks)
        match how:
            case "cut" | "empty":
                del content[at if how == "cut" else 0 :]
            case "zeros":
                content[at : at + 64] = bytes(len(content[at : at + 64]))
            case "gone":
                pass
            case _:
                content[at] ^= 1 << int(how[-1])
        path.write_bytes(content)
        if how == "gone":
            path.unlink()
        check_known(folder, marks, storage)


def test_what_a_crash_garbles_while_it_is_written_is_no_damage(tmp_path: Path) -> None:
    marks = planned(tmp_path)
    intents = tmp_path / "intents"
    content = bytearray(intents.read_bytes())
    content[SIZE : SIZE + 40] = b"\xff" * 40  # a batch whose sync never returned, so that no request of it left
    intents.write_bytes(content)
    for storage in (HERE, ELSEWHERE):
        assert Intents.open(tmp_path, storage)[1].damage is None
        check_known(tmp_path, marks, storage)


@pytest.mark.parametrize("call", ["put", "append", "sync", "put again"])
def test_a_crash_while_requests_with_doubts_are_planned_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    intents, _ = Intents.open(tmp_path, HERE)
    intents.begin([(Intent(1, 1, True), 3)])

    class Killed(BaseException):
        """The process dies here."""

    def die(*values: Any) -> None:
        raise Killed

    if call == "put again":
        monkeypatch.setattr(intents, "mark", die)
    else:
        monkeypatch.setattr(disk, call, die)
    with pytest.raises(Killed):
        intents.plan([Intent(1, 1, True), Intent(2, 2, True), Intent(3, 3, False)], [3, 2, 0], sync=True)
    monkeypatch.undo()
    intents.close()
    left = Intents.open(tmp_path, HERE)[1]
    assert left.damage is None
    found = {intent.identity: mark for intent, mark in left.entries}
    assert found == ({1: 3, 2: 2, 3: 0} if call in ("sync", "put again") else {1: 3})


def test_a_run_under_hold_refuses_damaged_intents_and_one_under_retry_says_so(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with open_store(path, fsync="batch") as opened:
        opened.write_header({"options": {}})
        jobs = [job("a"), job("b", 1)]
        opened.plan(jobs)
        opened.sent(jobs)
        opened.mark_sent()
    intents = tmp_path / "out.jsonl.state" / "intents"
    intents.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UsageError, match="is not known") as refused, open_store(path, fsync="batch", hold=True):
            pass
        assert "--in-doubt retry" in str(refused.value.hint)
    with open_store(path, fsync="batch") as opened:
        assert any("paid for twice" in notice for notice in opened.found.notices)


def test_each_loss_of_the_storage_counts_on_from_what_was_known(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "out.jsonl"
    for number in range(4):
        monkeypatch.setattr(store, "storage_of", lambda folder, number=number: bytes([number] * 16))
        with open_store(path, fsync="batch") as opened:
            one = job("a")
            one.attempts.possibly_billed = opened.prior(one.identity, one.key)
            assert one.attempts.possibly_billed == number
            (marks,) = (tmp_path / "out.jsonl.state").glob("marks-*")
            begun = marks.read_bytes()
            opened.plan([one])
            planned = marks.read_bytes()
            opened.sent([one])
            opened.mark_sent()
        marks.write_bytes(planned if number % 2 else begun)  # the power fails


@pytest.mark.parametrize("how", ["gone", "empty", "zeros"])
def test_marks_that_are_lost_again_and_again_take_no_attempt_with_them(tmp_path: Path, how: str) -> None:
    kept, sent = Intent(1, 1, False), Intent(2, 2, True)
    entries = [(kept, 3)]
    for lost in range(1, 5):
        intents, _ = Intents.open(tmp_path, HERE)
        intents.begin(entries)
        intents.plan([sent], [lost - 1], sync=True)
        intents.close()
        (marks,) = tmp_path.glob("marks-*")
        if how == "gone":
            marks.unlink()
        else:
            marks.write_bytes(b"" if how == "empty" else bytes(marks.stat().st_size))
        entries = list(Intents.open(tmp_path, HERE)[1].entries)
        assert sorted(entries) == [(kept, 3), (sent, lost)]


def test_a_state_that_the_version_before_left_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(Path(__file__).with_name("state_before_intents_3.tar.gz")) as fixture:
        fixture.extractall(tmp_path, filter="data")
    boot = (tmp_path / "out.jsonl.state" / "intents").read_bytes()[8:44].decode()
    shutil.copytree(tmp_path, tmp_path / "rebooted")
    names = ["answered", "in flight", "retried", "planned", "planned too"]
    for folder, then, expected in (
        (tmp_path, boot, ["in flight"]),
        (tmp_path / "rebooted", "another boot", ["in flight", "retried", "planned", "planned too"]),
    ):
        monkeypatch.setattr(intent_file, "boot", lambda then=then: then)
        with open_store(folder / "out.jsonl", fsync="batch", hold=True) as opened:
            assert (opened.found.ok, opened.found.in_doubt) == (1, len(expected))
            held = {
                name
                for name in names
                if opened.decide(job(name).identity, "f" * 32, ResumePolicy(hold=True, changed="rerun")).action
                is Action.HOLD
            }
            assert held == set(), "another request of the same record is not the one in doubt"
            journal = opened.journal(render, batch=4, rescue_dir=None)
            one = job("new")
            opened.plan([one])
            journal.write([answer(one)])
            journal.close()
        with open_store(folder / "out.jsonl", fsync="batch", hold=True) as opened:
            assert (opened.found.ok, opened.found.in_doubt) == (2, len(expected))
