"""Records against results."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbatch.app.verify import Finding, Reconciliation, verify
from llmbatch.cli.verify import spelled_out
from llmbatch.codec.digest import FINGERPRINT
from llmbatch.core.errors import InputError, UsageError
from llmbatch.results.intents import Intent, Intents
from llmbatch.results.lines import key_fingerprint, name_of_line
from llmbatch.results.storage import storage_of
from tests.support.deep import examples
from tests.support.result_lines import Fields, failed, ok, put, record_of


def check(inputs: list[str], results: list[str], **options: Any) -> tuple[Reconciliation, list[Fields]]:
    found: list[Finding] = []
    wanted: dict[str, Any] = {"input_format": None, "id_field": None, "limit": None, "max_line": 1 << 20}
    account = verify(inputs, results, **(wanted | options), found=found.append)
    return account, [finding.as_json() for finding in found]


def identified(records: list[Any]) -> list[tuple[Any, str, int]]:
    """Name records as the contract has it: by id, else by content, and how often that was there before."""
    seen: Counter[Any] = Counter()
    names = []
    for record in records:
        id = (record.get("id") or None) if isinstance(record, dict) else None
        name = (type(id), id) if id is not None else record_of(record)
        names.append((id, record_of(record), seen[name]))
        seen[name] += 1
    return names


def result(name: tuple[Any, str, int], index: int, fine: bool) -> Fields:
    id, record, occurrence = name
    more = {"occurrence": occurrence} if occurrence else {}
    return (ok if fine else failed)(id, index, record=record, **more)


IDS = st.sampled_from(["a", "b", "1", 1, 2, "", None])
RECORDS = st.lists(
    st.fixed_dictionaries({"id": IDS, "prompt": st.sampled_from("xyz")})
    | st.sampled_from(["text", "other text"])
    | st.fixed_dictionaries({"prompt": st.sampled_from("xyz")}),
    max_size=8,
)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records=RECORDS, choices=st.data())
def test_the_account_is_that_of_a_naive_model(records: list[Any], choices: st.DataObject) -> None:
    names = identified(records)
    lines: list[tuple[Any, Fields]] = []
    for index, name in enumerate(names):
        outcomes = choices.draw(st.lists(st.booleans(), max_size=3))
        lines += [(name, result(name, index, fine)) for fine in outcomes]
    for number in range(choices.draw(st.integers(0, 3))):
        orphan = (f"orphan{number % 2}", record_of("gone"), 0)
        lines.append((orphan, result(orphan, number, True)))
    lines = choices.draw(st.permutations(lines))
    cut = choices.draw(st.integers(0, len(lines)))

    def key(name: tuple[Any, str, int]) -> Any:
        id, record, occurrence = name
        return (type(id), id, occurrence) if id is not None else (record, occurrence)

    counted = Counter(key(name) for name, _ in lines)
    first: dict[Any, Fields] = {}
    for name, line in lines:
        first.setdefault(key(name), line)
    wanted = {key(name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        asked = put(Path(folder) / "in.jsonl", records)
        shards = [
            put(Path(folder) / "1.jsonl", [line for _, line in lines[:cut]]),
            put(Path(folder) / "2.jsonl", [line for _, line in lines[cut:]]),
        ]
        account, found = check([asked], shards)
    problems = Counter(finding["problem"] for finding in found)
    assert account.records == len(records) and account.lines == len(lines)
    assert account.ok == sum(first[name]["status"] == "ok" for name in wanted & first.keys())
    assert account.failed == len(wanted & first.keys()) - account.ok
    assert problems["missing"] == len(wanted - counted.keys())
    assert problems["orphan"] == len(counted.keys() - wanted)
    assert problems["repeated"] == sum(counted.values()) - len(counted)
    assert account.complete == (set(counted) == wanted and all(count == 1 for count in counted.values()))
    missing = [finding["index"] for finding in found if finding["problem"] == "missing"]
    assert missing == [index for index, name in enumerate(names) if key(name) not in counted]


def test_findings_say_where(tmp_path: Path) -> None:
    asked = put(tmp_path / "in.jsonl", [{"id": "a", "prompt": "x"}, {"id": 7, "prompt": "x"}, "no id"])
    results = put(tmp_path / "r.jsonl", [ok("a", 0), b"broken\n", ok("a", 0), ok("gone", 5)])
    _, found = check([asked], [results])
    assert found == [
        {"problem": "broken", "file": results, "line": 2},
        {"problem": "repeated", "id": "a", "file": results, "line": 3, "first_file": results, "first_line": 1},
        {"problem": "missing", "id": 7, "index": 1, "where": "line 2"},
        {"problem": "missing", "id": None, "record": record_of("no id"), "index": 2, "where": "line 3"},
        {"problem": "orphan", "id": "gone", "index": 5, "file": results, "line": 4},
    ]


def test_only_the_first_records_are_asked_for_with_a_limit(tmp_path: Path) -> None:
    asked = put(tmp_path / "in.jsonl", [{"id": n, "prompt": "x"} for n in range(5)])
    results = put(tmp_path / "r.jsonl", [ok(n, n) for n in range(1, 5)])
    account, found = check([asked], [results], limit=2)
    assert account.records == 2 and [finding["id"] for finding in found] == [0]
    assert "orphan" not in account.as_json()


def test_another_field_may_be_the_id_or_none(tmp_path: Path) -> None:
    record = {"id": "a", "name": "n", "prompt": "x"}
    asked = put(tmp_path / "in.jsonl", [record])
    by_name = put(tmp_path / "1.jsonl", [ok("n", 0)])
    by_content = put(tmp_path / "2.jsonl", [ok(None, 0, record=record_of(record))])
    assert check([asked], [by_name], id_field="name")[0].complete
    assert check([asked], [by_content], id_field="none")[0].complete
    assert not check([asked], [by_name])[0].complete


def test_unusable_records_have_results_too(tmp_path: Path) -> None:
    asked = put(tmp_path / "in.jsonl", [{"id": "a", "prompt": "x"}, b"not json\n", {"id": "b"}])
    account, found = check([asked], [put(tmp_path / "r.jsonl", [ok("a", 0)])])
    assert account.records == 3 and [finding.get("unusable") for finding in found] == [True, True]


def test_an_edited_record_is_counted_and_no_fault(tmp_path: Path) -> None:
    asked = put(tmp_path / "in.jsonl", [{"id": "a", "prompt": "new"}])
    results = put(tmp_path / "r.jsonl", [ok("a", 0, record=record_of({"id": "a", "prompt": "old"}))])
    account, _ = check([asked], [results])
    assert account.complete and account.edited == 1


def test_what_is_in_doubt_is_counted_and_nothing_is_changed(tmp_path: Path) -> None:
    records = [{"id": name, "prompt": "x"} for name in "abcd"]
    asked = put(tmp_path / "in.jsonl", records)
    lines = [failed("a", 0), ok("d", 3)]
    results = put(tmp_path / "r.jsonl", lines)
    state = tmp_path / "r.jsonl.state"
    state.mkdir()
    intents, _ = Intents.open(state, storage_of(state))
    key = key_fingerprint("a" * 32)
    a, b, c, d = (Intent(name_of_line(ok(name, 0)) & FINGERPRINT, key, name == "a") for name in "abcd")
    intents.begin([(a, 1), (b, 1), (c, 0), (d, 1)])  # in doubt again, in doubt, never sent, sent and written
    intents.close()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    account, found = check([asked], [results])
    assert account.in_doubt == 2
    assert [(finding["id"], finding.get("in_doubt")) for finding in found] == [("b", True), ("c", None)]
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_result_that_is_not_merged_yet_is_the_one_that_counts(tmp_path: Path) -> None:
    asked = put(tmp_path / "in.jsonl", [{"id": "a", "prompt": "x"}])
    results = put(tmp_path / "r.jsonl", [failed("a", 0)])
    put(tmp_path / "r.jsonl.state" / "redo.jsonl", [ok("a", 0)])
    account, _ = check([asked], [results])
    assert account.complete and (account.ok, account.failed) == (1, 0)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    asked = put(tmp_path / "in.jsonl", ["x"])
    with pytest.raises(InputError):
        check([asked], [str(tmp_path / "nowhere")])
    with pytest.raises(InputError):
        check([str(tmp_path / "nowhere")], [put(tmp_path / "r.jsonl", [])])
    with pytest.raises(UsageError, match="line 1"):
        check([asked], [asked])


@pytest.mark.parametrize(
    ("given_", "spelled"),
    [
        (["in", "-o", "a"], ["in", "-o", "a"]),
        (["in", "-o", "a", "b", "c"], ["in", "-o", "a", "-o", "b", "-o", "c"]),
        (["in", "--output", "a", "b"], ["in", "--output", "a", "-o", "b"]),
        (["in", "--output=a", "b"], ["in", "--output=a", "-o", "b"]),
        (["in", "-oa", "b", "--all"], ["in", "-oa", "-o", "b", "--all"]),
        (["-", "-o", "a", "b", "--all", "c"], ["-", "-o", "a", "-o", "b", "--all", "c"]),
        (["-o", "a", "--", "in"], ["-o", "a", "--", "in"]),
    ],
)
def test_all_names_after_o_are_results(given_: list[str], spelled: list[str]) -> None:
    assert spelled_out(given_) == spelled


def test_findings_are_json(tmp_path: Path) -> None:
    asked = put(tmp_path / "in.jsonl", ["x"])
    account, found = check([asked], [put(tmp_path / "r.jsonl", [])])
    assert json.loads(json.dumps(account.as_json()))["missing"] == len(found) == 1
