"""Answers of several files side by side."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.app.compare import LONGEST, SHOWN, Comparison, compare
from llmbatch.core.errors import UsageError
from llmbatch.ui.compare import comparison_text
from llmbatch.ui.symbols import UNICODE
from tests.support.result_lines import failed, ok, put


def compared(tmp_path: Path, *files: list[object]) -> Comparison:
    names = [put(tmp_path / f"{n}.jsonl", lines) for n, lines in enumerate(files)]
    return compare({name: [name] for name in names}, notice=pytest.fail)


def test_records_meet_by_id_whatever_their_order_is(tmp_path: Path) -> None:
    first = [ok("a", 0, "yes"), ok("b", 1, "no"), ok("c", 2, "maybe")]
    second = [ok("c", 0, " maybe\n"), ok("a", 1, "no"), failed("b", 2)]
    found = compared(tmp_path, first, second)
    assert (found.common, found.agreeing) == (2, 1)
    assert found.agreement == [[1.0, 0.5], [0.5, 1.0]]
    assert {one.id: one.texts for one in found.differing} == {"a": ["yes", "no"], "b": ["no", None]}


def test_records_without_ids_meet_by_what_they_are(tmp_path: Path) -> None:
    found = compared(tmp_path, [ok(None, 0, "x"), ok(None, 1, "y")], [ok(None, 1, "y"), ok(None, 0, "z")])
    assert (found.common, found.agreeing) == (2, 1)


def test_many_and_long_answers_are_cut(tmp_path: Path) -> None:
    sides = [[ok(f"q{n}", n, side * 2000) for n in range(SHOWN + 9)] for side in "xy"]
    found = compared(tmp_path, *sides)
    assert found.agreeing == 0 and len(found.differing) == SHOWN
    assert all(text and len(text) == LONGEST for one in found.differing for text in one.texts)


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab")), max_size=6), min_size=2, max_size=4))
def test_agreement_is_the_same_from_both_sides_and_whole_with_itself(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[int, str]]]
) -> None:
    lines = [[ok(id, place, text) for place, (id, text) in enumerate(dict(pairs).items())] for pairs in files]
    found = compared(tmp_path_factory.mktemp("files"), *lines)
    for a, row in enumerate(found.agreement):
        assert row[a] == (1.0 if lines[a] else None)
        assert all(row[b] == found.agreement[b][a] for b in range(len(lines)))
    json.dumps(found.as_json(), allow_nan=False)


def test_the_table_names_files_costs_and_differing_answers_and_drives_no_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2Jno"
    found = compared(
        tmp_path, [ok("a", 0, "yes", cost_usd=0.5)], [ok("a", 0, evil, cost_usd=0.25)], [ok("a", 0, "yes")]
    )
    text = comparison_text(found, 100, UNICODE).decode()
    assert "1 record is answered in all files" in text and "$0.5000" in text and "id a" in text
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("names", [["one.jsonl"], ["one.jsonl", "-"]])
def test_one_file_is_nothing_to_compare(names: list[str]) -> None:
    with pytest.raises(UsageError, match="two or more"):
        compare({name: [name] for name in names}, notice=pytest.fail)
