"""Results files are read without a lock."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from llmbatch.core.errors import InputError, UsageError
from llmbatch.results.opening import open_store
from llmbatch.results.reader import open_results
from llmbatch.results.rewrite import merge
from tests.support.result_lines import failed, ok, put


def read(*names: str) -> list[Any]:
    with open_results(names) as files:
        return [line for file in files for line in file.results()]


def ids(*names: str) -> list[Any]:
    return [(line["id"], line["status"]) for line in read(*names)]


def test_a_redone_line_stands_in_the_place_of_the_old_one(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0), failed("b", 1), ok("c", 2)])
    put(tmp_path / "r.jsonl.state" / "redo.jsonl", [ok("b", 1)])
    assert ids(name) == [("a", "ok"), ("b", "ok"), ("c", "ok")]


def test_the_newest_redone_line_wins_and_one_without_an_old_line_comes_last(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [failed("b", 1), ok("c", 2)])
    put(tmp_path / "r.jsonl.state" / "redo.jsonl", [failed("b", 1), ok("z", 9), ok("b", 1), b'{"id":"c","ind'])
    assert ids(name) == [("b", "ok"), ("c", "ok"), ("z", "ok")]


def test_a_redone_line_without_its_newline_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [failed("a", 0)])
    whole = json.dumps(ok("a", 0)).encode()
    put(tmp_path / "r.jsonl.state" / "redo.jsonl", [whole])
    assert ids(name) == [("a", "ok")]
    put(tmp_path / "r.jsonl.state" / "redo.jsonl", [whole[:-1]])
    assert ids(name) == [("a", "failed")]


def test_what_stands_is_what_the_next_run_merges(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [failed("b", 1), ok("c", 2), failed("d", 3)])
    redo = tmp_path / "r.jsonl.state" / "redo.jsonl"
    put(redo, [failed("b", 1), ok("z", 9), ok("b", 1), ok("d", 3)])
    standing = read(name)
    merge(Path(name), redo, tmp_path / "scratch")
    redo.unlink()
    assert read(name) == standing


def test_the_repr_of_a_file_and_of_its_store_says_what_its_records_have(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [failed("b", 1), ok("c", 2)])
    with open_results([name]) as (file,):
        assert repr(file.by_record()) == "<ReadOnlyResults 2 records, 1 ok, 0 in doubt, 0 in batches>"
    with open_store(Path(name), fsync="never") as store:
        assert repr(store) == "<Store 2 records, 1 ok, 0 in doubt, 0 in batches>"


def test_a_second_pass_sees_the_same(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [failed("b", 1)])
    put(tmp_path / "r.jsonl.state" / "redo.jsonl", [ok("b", 1), ok("z", 2)])
    with open_results([name]) as (file,):
        first = list(file.results())
        assert len(first) == 2 and list(file.results()) == first


def test_what_a_run_adds_meanwhile_is_not_seen(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0)])
    with open_results([name]) as (file,):
        with open(name, "ab") as growing:
            growing.write(json.dumps(ok("b", 1)).encode() + b"\n")
        assert [line["id"] for line in file.results()] == ["a"]


def test_a_link_leads_to_the_state_beside_its_file(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [failed("a", 0)])
    put(tmp_path / "r.jsonl.state" / "redo.jsonl", [ok("a", 0)])
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.jsonl"
    link.symlink_to(name)
    assert ids(str(link)) == [("a", "ok")]


def test_a_last_line_without_its_newline_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    whole = json.dumps(ok("b", 1)).encode()
    name = put(tmp_path / "r.jsonl", [ok("a", 0), whole])
    assert ids(name) == [("a", "ok"), ("b", "ok")]
    for size in range(1, len(whole)):
        put(tmp_path / "r.jsonl", [ok("a", 0), whole[:size]])
        with open_results([name]) as (file,):
            assert file.torn and len(list(file.results())) == 1


@pytest.mark.parametrize("size", [1, 3, 6, 40])
def test_a_file_that_is_one_torn_line_is_ours_and_empty(tmp_path: Path, size: int) -> None:
    name = put(tmp_path / "r.jsonl", [json.dumps(ok("a", 0), separators=(",", ":")).encode()[:size]])
    with open_results([name]) as (file,):
        assert file.torn and list(file.results()) == []


@pytest.mark.parametrize(
    "text", [b"prompt\n", b'{"id":"a","prompt":"hello"}', b'{"id":"a","prompt":"x"}\n', b"a,b\n1,2\n"]
)
def test_another_file_is_refused_at_line_1(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(UsageError, match="line 1"):
        read(put(tmp_path / "r.jsonl", [text]))


def test_a_broken_line_is_refused_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 3 "):
        read(put(tmp_path / "r.jsonl", [ok("a", 0), b"\n", b"nonsense\n", ok("b", 1)]))


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert read(put(tmp_path / "r.jsonl", [])) == []


@pytest.mark.parametrize("name", ["nowhere.jsonl", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read(str(tmp_path / name))


def test_the_same_file_twice_is_refused_under_any_name(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0)])
    (tmp_path / "link").symlink_to(name)
    with pytest.raises(UsageError, match="given twice"):
        read(name, str(tmp_path / "link"))


def test_the_state_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0)])
    put(tmp_path / "r.jsonl.state" / "runs.jsonl", [{"version": 99, "llmbatch": "9.9"}])
    with pytest.raises(UsageError, match="newer"):
        read(name)


def test_a_pipe_is_read_as_often_as_needed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    line = json.dumps(ok("a", 0)).encode() + b"\n"
    writer = threading.Thread(target=lambda: pipe.write_bytes(line))
    writer.start()
    with open_results([str(pipe)]) as (file,):
        assert len(list(file.results())) == len(list(file.results())) == 1
    writer.join()
