"""The parts of a store against simple models of them."""

import json
import os
import random
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmbatch.codec.digest import fingerprint
from llmbatch.core.fault import Kind
from llmbatch.core.job import Identity
from llmbatch.core.settings import Redo
from llmbatch.results import disk
from llmbatch.results import lines as lines_module
from llmbatch.results.index import LineFlags, ResultIndex, flags_of
from llmbatch.results.lines import parse, place_of, scan, torn_tail
from llmbatch.results.opening import open_store
from llmbatch.results.resume_policy import Action, Before, Decision, ResumePolicy, decide
from llmbatch.results.rewrite import merge, rewrite, sort
from tests.results.store_use import job, run
from tests.support.deep import examples
from tests.torture.bench import quick_folder, results_of

# Known.


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**50), st.integers(0, 1023))
    )
)
def test_the_packed_table_is_a_dict(entries: list[tuple[int, int, int, int]]) -> None:
    known, model = ResultIndex(), dict[int, tuple[int, int, int]]()
    places: list[int] = []
    for identity, key, offset, traits in entries:
        earlier = known.add(identity, key, offset, traits)
        assert earlier == (places.index(identity) if identity in model else None)
        if identity not in model:
            model[identity] = (key, offset, traits)
            places.append(identity)
    assert len(known) == len(known.matched) == len(model)
    for identity, (key, offset, traits) in model.items():
        place = known.find(identity)
        assert place == places.index(identity)
        assert (known.key(place), known.offset(place), known.traits(place)) == (key, offset, traits)
        known.replace(place, key ^ 1, offset + 1, traits ^ 1)
        assert (known.key(place), known.offset(place), known.traits(place)) == (key ^ 1, offset + 1, traits ^ 1)


def test_the_packed_table_grows_over_many_entries_that_collide() -> None:
    known = ResultIndex()
    for number in range(1, 5000):
        assert known.add(number << 20, number, number, LineFlags.OK) is None
    assert all(known.find(number << 20) == number - 1 for number in range(1, 5000))
    assert known.find(7) is None


def test_lines_whose_fingerprints_are_the_same_are_told_apart_by_the_rest_of_their_names() -> None:
    known = ResultIndex()
    names = [7 | check << 64 for check in range(1, 100)]
    assert [known.add(name, 0, place, 0) for place, name in enumerate(names)] == [None] * len(names)
    assert [known.find(name) for name in names] == list(range(len(names)))
    assert known.find(7) == 0 and known.find(7 | 100 << 64) is None


class CountingArray(array):  # type: ignore[type-arg]
    """An array that counts how often it is looked at."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        self.looks += 1
        return super().__getitem__(place)


@pytest.mark.parametrize("shard", [0, 1, 200])
def test_the_names_of_one_shard_are_found_in_a_few_steps(shard: int) -> None:
    numbers = random.Random(shard)
    known, names = ResultIndex(), [numbers.randrange(2**56) << 8 | shard for _ in range(5000)]
    for place, name in enumerate(names):
        known.add(name, 0, place, 0)
    counting = CountingArray("Q", known._identities)
    known._identities = counting
    assert [known.find(name) for name in names] == list(range(len(names)))
    # Random slots take fewer than two looks at this load; slots by the bits that a shard has in common, dozens.
    assert counting.looks / len(names) < 5


def test_records_whose_fingerprints_are_the_same_are_each_sent_and_each_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "record_name", lambda *parts: 7 | (hash(parts) & 0xFFFF_FFFF) << 64)
    names = [f"n{number}" for number in range(9)]
    assert run(tmp_path / "out.jsonl", names) == names
    assert sorted(line["id"] for line in results_of(tmp_path / "out.jsonl")) == names
    assert run(tmp_path / "out.jsonl", names) == []
    assert run(tmp_path / "out.jsonl", ["new", *names]) == ["new"]


# Lines.

pieces = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"\0\0\0", b" ", b"{}", b'{"a":1}', "\u2028é".encode(), b"\xff", b'{"id":"x"']),
    max_size=30,
)


@settings(max_examples=examples(150), deadline=None)
@given(pieces, st.integers(1, 9))
@example([], 1)
@example([b"\0\0\0"], 1)
@example([b"{}", b"\n", b"\n", b"\r\n", b"{}"], 1)
def test_lines_are_found_whatever_the_bytes_and_the_size_of_the_pieces(parts: list[bytes], piece: int) -> None:
    content = b"".join(parts)
    with quick_folder() as folder:
        (folder / "f").write_bytes(content)
        fd = os.open(folder / "f", os.O_RDONLY)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(lines_module, "CHUNK", piece)
                end = torn_tail(fd, len(content))
            assert end == content.rfind(b"\n") + 1
            found = list(scan(fd, end, piece=piece))
        finally:
            os.close(fd)
    expected = [(number, raw) for number, raw in enumerate(content[:end].split(b"\n")[:-1], 1) if raw.strip()]
    assert [(line.number, line.raw) for line in found] == expected
    assert all(content[line.offset :].startswith(line.raw + b"\n") for line in found)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"id":1}',
        b'{"id":1,"index":0,"status":"ok"}',
        b'{"id":[],"index":0,"status":"ok","record":"r"}',
        b'{"id":1,"index":0,"status":"odd","record":"r"}',
        b'{"id":1,"index":0,"status":["ok"],"record":"r"}',
        b'{"id":1,"index":0,"status":"ok","record":"r","key":5}',
        b'{"id":1,"index":0,"status":"ok","record":"r","key":"nothex"}',
        b'{"id":1,"index":0,"status":"ok","record":"r","occurrence":"1"}',
    ],
)
def test_what_is_not_a_result_is_not_taken_for_one(raw: bytes) -> None:
    assert parse(raw) is None


def test_ids_of_different_types_have_different_fingerprints() -> None:
    names = [fingerprint(id, "r", n) for id in ("1", 1, None, "r", "") for n in (0, 1)]
    assert len(set(names)) == len(names) and 0 not in names


class Drips:
    """The module `os`, as disk uses it, writing a byte at a time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, data: Any) -> int:
        return os.write(fd, data[:1])


def test_writes_that_take_one_byte_at_a_time_lose_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "os", Drips())
    with quick_folder() as folder:
        assert run(folder / "out.jsonl", ["a", "b", "c"], until=2) == ["a", "b"]
        assert run(folder / "out.jsonl", ["a", "b", "c"]) == ["c"]
        assert {line["id"] for line in results_of(folder / "out.jsonl")} == {"a", "b", "c"}


# Judgement.


def failure(kind: str, **more: Any) -> dict[str, Any]:
    return {"status": "failed", "key": "1" * 32, "error": {"kind": kind}, **more}


NAMED, OTHER = Redo(ids=frozenset({"x"})), Redo(ids=frozenset({"y", 7}))

befores = st.builds(
    Before,
    traits=st.none() | st.integers(0, 15) | st.builds(lambda kind: flags_of(failure(kind)), st.sampled_from(Kind)),
    key=st.sampled_from([1, 2]),
    doubts=st.integers(0, 3),
)
policies = st.builds(
    ResumePolicy,
    redo=st.sampled_from([*map(Redo, ("unbilled", "none", "all")), Redo(kinds=frozenset({"schema"})), NAMED, OTHER]),
    hold=st.booleans(),
    changed=st.sampled_from([None, "keep", "rerun"]),
    keep_edited=st.booleans(),
    json_retries=st.integers(0, 3),
)


@settings(max_examples=examples(300), deadline=None)
@given(befores, st.booleans(), policies)
def test_judgements_keep_the_promises_of_the_contract(before: Before, edited: bool, policy: ResumePolicy) -> None:
    line_record = "other" if edited else "same"
    verdict: Decision = decide(Identity(0, "x", "same"), 1, before, lambda: {"record": line_record}, policy)
    ok = before.traits is not None and bool(before.traits & LineFlags.OK)
    named = policy.redo == NAMED
    if ok and before.key == 1 and not named:
        assert verdict.action is Action.KEEP_OK, "an answer to this very request is never asked for again"
    if policy.hold and before.doubts:
        assert verdict.action is not Action.SEND, "under hold no request is sent that may have been billed"
    if verdict.action is Action.SEND:
        assert verdict.redo == (before.traits is not None), "a line is replaced, never repeated"
        if ok and not edited and not named:
            assert policy.changed == "rerun", "other options never send anything by themselves"
    if verdict.action is Action.CHANGED:
        assert ok and not edited and policy.changed is None
    if before.traits is None and not before.doubts:
        assert verdict == Decision(Action.SEND)


@pytest.mark.parametrize(
    ("redo", "sent"),
    [
        (Redo("unbilled"), {"timeout", "rate_limited"}),
        (Redo("none"), set()),
        (Redo("all"), {"timeout", "rate_limited", "schema", "not_json"}),
        (Redo(kinds=frozenset({"schema", "timeout"})), {"schema", "timeout"}),
        (NAMED, {"timeout", "rate_limited", "schema", "not_json"}),
        (OTHER, set()),
    ],
)
def test_each_failure_is_sent_again_by_the_redo_that_means_it(redo: Redo, sent: set[str]) -> None:
    lines = [
        failure("timeout"),
        failure("rate_limited"),
        *(failure(kind, billed=True) for kind in ("schema", "not_json")),
    ]
    again = set()
    for line in lines:
        before = Before(flags_of(line), 1, 0)
        verdict = decide(Identity(0, "x", "r"), 1, before, lambda: {"record": "r"}, ResumePolicy(redo))
        if verdict.action is Action.SEND:
            again.add(line["error"]["kind"])
    assert again == sent
    invalid = flags_of({"status": "failed", "key": None, "error": {"kind": "invalid_record"}})
    verdict = decide(Identity(0, "x", "r"), 1, Before(invalid, 0, 0), lambda: {"record": "r"}, ResumePolicy(redo))
    assert verdict.action is Action.SEND, "a record that was invalid and no longer is was never sent"


@pytest.mark.parametrize(
    ("kind", "attempts", "policy", "goes_on"),
    [
        ("schema", 1, ResumePolicy(json_retries=2), True),
        ("not_json", 2, ResumePolicy(json_retries=2), True),
        ("schema", 3, ResumePolicy(json_retries=2), False),
        ("schema", 1, ResumePolicy(), False),
        ("finish_reason", 1, ResumePolicy(json_retries=2), False),
        ("schema", 1, ResumePolicy(Redo("none"), json_retries=2), False),
        ("schema", None, ResumePolicy(json_retries=2), False),
    ],
)
def test_an_answer_that_does_not_fit_is_asked_for_again_while_retries_are_left(
    kind: str, attempts: int | None, policy: ResumePolicy, goes_on: bool
) -> None:
    line = failure(kind, billed=True)
    before = Before(flags_of(line), 1, 0)
    verdict = decide(Identity(0, "x", "r"), 1, before, lambda: line | {"attempts": attempts}, policy)
    sent = Decision(Action.SEND, redo=True, attempts=attempts or 0)
    assert verdict == (sent if goes_on else Decision(Action.KEEP_FAILED))


def test_an_answer_is_sent_again_when_its_id_is_named() -> None:
    for before in (Before(LineFlags.OK, 1, 0), Before(LineFlags.OK, 2, 0)):
        verdict = decide(Identity(0, "x", "same"), 1, before, lambda: {"record": "same"}, ResumePolicy(NAMED))
        assert verdict == Decision(Action.SEND, redo=True)


# Rewriting.


def line(id: int, index: int, text: str = "") -> bytes:
    fields = {"id": id, "index": index, "status": "ok", "text": text, "record": "r", "key": "0" * 32, "meta": {}}
    return json.dumps(fields).encode() + b"\n"


ids = st.lists(st.integers(0, 12), max_size=12)


@settings(max_examples=examples(60), deadline=None)
@given(ids.map(lambda some: list(dict.fromkeys(some))), ids, st.sampled_from([b"", b'{"torn', b"\n"]))
def test_merging_sorting_and_rewriting_twice_is_as_good_as_once(old: list[int], new: list[int], tail: bytes) -> None:
    with quick_folder() as folder:
        results, redo, scratch = folder / "out", folder / "redo", folder / "scratch"
        results.write_bytes(b"".join(line(id, 100 - id, "old") for id in old))
        redo.write_bytes(b"".join(line(id, 100 - id, f"new {n}") for n, id in enumerate(new)) + tail)

        def texts() -> dict[int, str]:
            return {fields["id"]: fields["text"] for fields in map(json.loads, results.read_bytes().splitlines())}

        once: list[bytes] = []
        for _ in range(2):
            merged = merge(results, redo, scratch)
            assert len(merged) == len(set(new))
            once.append(results.read_bytes())
        assert once[0] == once[1]
        expected = dict.fromkeys(old, "old") | {id: f"new {n}" for n, id in enumerate(new)}
        assert texts() == expected and len(results.read_bytes().splitlines()) == len(expected)
        assert list(texts())[: len(old)] == old, "a merged line stands where the old one stood"
        for _ in range(2):
            sort(results, scratch)
            assert list(texts()) == sorted(expected, reverse=True)
        before = dict(texts())
        for moved in (sum(id % 2 for id in expected), 0):
            assert moved == rewrite(results, scratch, lambda one: (one.fields or {})["id"] % 2 == 0, folder / "aside.x")
        assert texts() == {id: text for id, text in before.items() if id % 2 == 0}
        assert not scratch.exists()


@given(
    id=st.integers() | st.text() | st.none() | st.just('"index":5,"status":"'),
    occurrence=st.integers(0, 3),
    index=st.integers(0, 2**63),
    status=st.sampled_from(["ok", "failed", "other"]),
    spaced=st.booleans(),
)
def test_the_beginning_of_a_line_tells_the_same_index_as_all_of_it(
    id: int | str | None, occurrence: int, index: int, status: str, spaced: bool
) -> None:
    repeated = {"occurrence": occurrence} if occurrence else {}
    fields = {"id": id, **repeated, "index": index, "status": status, "record": "r", "key": None, "meta": {}}
    separators = None if spaced else (",", ":")
    for in_ascii in (True, False):
        raw = json.dumps(fields, separators=separators, ensure_ascii=in_ascii).encode("utf-8", "replace")
        read = parse(raw)
        assert place_of(raw) == ((read["index"], 0) if read is not None else None)


def test_lines_of_no_place_known_stay_where_they_are_or_go_to_the_end(tmp_path: Path) -> None:
    lines = [b"not ours\n", line(1, 10**30), line(2, 7), line(3, -4)]
    (tmp_path / "out").write_bytes(b"".join(lines))
    sort(tmp_path / "out", tmp_path / "scratch")
    assert (tmp_path / "out").read_bytes() == b"".join([lines[0], lines[3], lines[2], lines[1]])


def test_a_line_whose_key_held_the_service_tier_is_the_line_of_the_same_request(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    run(path, ["a", "b"])
    with open_store(path, fsync="never") as store:
        known, new, other = job("a"), job("c"), job("b", key=7)
        known.key, known.former_key = "0" * 32, known.key
        new.former_key = "1" * 32
        assert store.known_key(known) == known.former_key
        assert store.known_key(new) == new.key and store.known_key(other) == other.key
        assert store.decide(known.identity, store.known_key(known), ResumePolicy()).action is Action.KEEP_OK
