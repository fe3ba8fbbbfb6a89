"""Results in other shapes."""

import csv
import errno
import io
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.app.convert import Shape, convert
from llmbatch.core.errors import InputError, OutputError, UsageError
from llmbatch.results import disk
from tests.support.result_lines import failed, ok, put

BODY = {"id": "c", "object": "chat.completion"}


def shaped(names: list[str], to: str, output: Path | None = None, errors: Path | None = None, **shape: Any) -> bytes:
    written = io.BytesIO()
    convert(
        names, Shape(to=to, **shape), output=output, error_file=errors, stdout=written.write, notice=lambda text: None
    )
    return written.getvalue()


def lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


def test_text_is_a_json_string_a_line_and_raw_text_skips_failures(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0, "one\ntwo"), failed("b", 1), ok("c", 2, None)])
    assert shaped([name], "text") == b'"one\\ntwo"\nnull\nnull\n'
    assert shaped([name], "text", raw=True) == b"one\ntwo\n"


def test_several_files_follow_each_other_and_redone_lines_are_seen(tmp_path: Path) -> None:
    one = put(tmp_path / "1.jsonl", [ok("a", 0, "1"), failed("b", 1)])
    put(tmp_path / "1.jsonl.state" / "redo.jsonl", [ok("b", 1, "2")])
    two = put(tmp_path / "2.jsonl", [ok("c", 0, "3")])
    assert lines(shaped([one, two], "text")) == ["1", "2", "3"]


def test_the_columns_are_those_of_all_lines(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0, meta={"x": 1}), ok("b", 1, meta={"y": "=2", "x": None})])
    head, *rows = csv.reader(io.StringIO(shaped([name], "csv").decode()))
    assert head[-2:] == ["meta.x", "meta.y"] and [row[-2:] for row in rows] == [["1", ""], ["", "'=2"]]
    head = next(csv.reader(io.StringIO(shaped([name], "csv", meta=("y", "z")).decode())))
    assert head[-3:] == ["latency_s", "meta.y", "meta.z"]


def test_meta_with_a_new_field_on_every_line_is_refused(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok(None, n, meta={f"f{n}": 1}) for n in range(1001)])
    with pytest.raises(UsageError, match="more than 1,000 different fields") as refused:
        shaped([name], "csv")
    assert refused.value.hint is not None and "--meta-columns" in refused.value.hint
    assert shaped([name], "csv", meta=()).count(b"\n") == 1002


def test_batch_lines_have_the_providers_answer_or_an_error(tmp_path: Path) -> None:
    name = put(
        tmp_path / "r.jsonl",
        [
            ok("a", 0, response=BODY),
            ok(7, 1, response=BODY),
            failed("b", 2, response={"error": {"message": "no"}}, request_id="r9"),
            failed("c", 3, "timeout", None),
            failed("d", 4, "unparsable", 200, response="<html>", billed=True),
            failed(None, 5, "unparsable", 200, response_base64="/w=="),
        ],
    )
    found = lines(shaped([name], "openai-batch"))
    assert [line["custom_id"] for line in found] == ["a", "7", "b", "c", "d", "record-5"]
    assert found[0]["response"] == {"status_code": 200, "request_id": "r", "body": BODY} and found[0]["error"] is None
    assert found[2]["response"] == {"status_code": 400, "request_id": "r9", "body": {"error": {"message": "no"}}}
    assert found[2]["error"] is None
    assert found[3]["response"] is None and found[3]["error"] == {"code": "timeout", "message": "no"}
    assert found[4]["response"]["body"] == "<html>" and found[4]["error"]["code"] == "unparsable"
    assert found[5]["response"]["body"] == {"response_base64": "/w=="} and found[5]["error"]


def test_failures_may_have_a_file_of_their_own(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0, response=BODY), failed("b", 1), ok("c", 2, response=BODY)])
    errors = tmp_path / "errors.jsonl"
    assert [line["custom_id"] for line in lines(shaped([name], "openai-batch", errors=errors))] == ["a", "c"]
    assert [line["custom_id"] for line in lines(errors.read_bytes())] == ["b"]


@pytest.mark.parametrize("to_file", [False, True])
def test_an_answer_without_its_body_writes_nothing(tmp_path: Path, to_file: bool) -> None:
    name = put(tmp_path / "r.jsonl", [ok(None, n, response=BODY) for n in range(2000)] + [ok("b", 9)])
    out, errors = tmp_path / "out.jsonl", tmp_path / "errors.jsonl"
    written = io.BytesIO()
    with pytest.raises(UsageError) as refused:
        convert(
            [name],
            Shape(to="openai-batch"),
            output=out if to_file else None,
            error_file=errors,
            stdout=written.write,
            notice=pytest.fail,
        )
    assert refused.value.hint is not None and "--include response" in refused.value.hint
    assert written.getvalue() == b"" and {path.name for path in tmp_path.iterdir()} == {"r.jsonl"}


def test_a_broken_line_leaves_the_old_file_alone(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0), b"broken\n"])
    out = tmp_path / "out.txt"
    out.write_text("old")
    with pytest.raises(UsageError, match="line 2"):
        shaped([name], "text", out)
    assert out.read_text() == "old" and len(list(tmp_path.iterdir())) == 2


def test_a_new_file_is_private_and_a_replaced_one_keeps_its_mode(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0)])
    out = tmp_path / "out.txt"
    shaped([name], "text", out)
    assert out.stat().st_mode & 0o777 == 0o600
    out.chmod(0o644)
    link = tmp_path / "link.txt"
    link.symlink_to(out)
    shaped([name], "text", link, raw=True)
    assert out.stat().st_mode & 0o777 == 0o644 and out.read_text() == "yes\n" and link.is_symlink()


@pytest.mark.parametrize(
    "target", ["r.jsonl", "hard", "soft", "r.jsonl.state/redo.jsonl", "r.jsonl.state/new", "other.jsonl"]
)
def test_no_results_are_ever_overwritten(tmp_path: Path, target: str) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0)])
    put(tmp_path / "r.jsonl.state" / "redo.jsonl", [ok("a", 0)])
    os.link(name, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(name)
    put(tmp_path / "other.jsonl", [ok("b", 0)])
    (tmp_path / "other.jsonl.state").mkdir()
    for output, errors in ((tmp_path / target, None), (None, tmp_path / target)):
        with pytest.raises(UsageError):
            shaped([name], "openai-batch" if errors else "text", output, errors)
    assert len((tmp_path / "r.jsonl").read_bytes()) > 10


def test_both_outputs_cannot_be_the_same_file(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0, response=BODY)])
    with pytest.raises(UsageError, match="same file"):
        shaped([name], "openai-batch", tmp_path / "x", tmp_path / "x")


@pytest.mark.parametrize("target", ["/dev/null", "/"])
def test_what_is_not_a_file_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        shaped([put(tmp_path / "r.jsonl", [ok("a", 0)])], "text", Path(target))


def test_a_folder_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        shaped([put(tmp_path / "r.jsonl", [ok("a", 0)])], "text", tmp_path / "nowhere" / "out")


@pytest.mark.parametrize("call", ["append", "sync", "sync_folder"])
def test_a_disk_that_refuses_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    name = put(tmp_path / "r.jsonl", [ok("a", 0)])
    monkeypatch.setattr(disk, call, refuse)
    with pytest.raises(OutputError, match="No space"):
        shaped([name], "text", tmp_path / "out")
    left = {path.name for path in tmp_path.iterdir()} - {"r.jsonl"}
    assert left <= {"out"} and (call == "sync_folder" or not left)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        shaped([str(tmp_path / "nowhere")], "csv")


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    wide = b'{"id":null,"index":0,"status":"ok","record":"00","meta":{"x":%b1%b}}\n' % (b"[" * 980, b"]" * 980)
    with pytest.raises(UsageError, match="record 0"):
        shaped([put(tmp_path / "r.jsonl", [wide])], "csv")


def test_a_table_has_a_column_for_each_field_of_answers_in_json(tmp_path: Path) -> None:
    name = put(
        tmp_path / "r.jsonl",
        [ok("1", 0, json={"label": "a", "p": 0.5}, meta={"x": 1}), ok("2", 1, json=[1]), ok("3", 2)],
    )
    head, first, *_ = csv.reader(io.StringIO(shaped([name], "csv").decode()))
    assert head[-3:] == ["json.label", "json.p", "meta.x"] and first[-3:] == ["a", "0.5", "1"]
    tabs = shaped([name], "tsv", meta=()).decode().splitlines()
    assert tabs[0].split("\t")[-2:] == ["json.label", "json.p"]


def test_a_table_may_be_plain_and_may_be_marked_for_excel(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("1", 0, "=1+1")])
    assert b",'=1+1," in shaped([name], "csv") and b",=1+1," in shaped([name], "csv", safe=False)
    assert shaped([name], "csv", mark=True) == b"\xef\xbb\xbf" + shaped([name], "csv")


def test_samples_of_a_record_are_told_apart_where_there_are_any(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0, sample=0), ok("a", 1, sample=1)])
    assert [line.split(",")[:2] for line in shaped([name], "csv").decode().splitlines()] == [
        ["id", "sample"],
        ["a", "0"],
        ["a", "1"],
    ]
    found = pq.read_table(io.BytesIO(shaped([name], "parquet")))
    assert found.column_names[:2] == ["id", "sample"] and found["sample"].to_pylist() == [0, 1]


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.text(
    "=+-@\t\r\0\"',; \na\u2028😀", max_size=6
)
NUMBER = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUE = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.dictionaries(st.sampled_from("abc") | TEXT, VALUE, max_size=3)
LINES = st.lists(
    st.builds(
        lambda name, text, meta, answer: ok(name, 0, text, meta=meta, **answer),
        st.none() | TEXT | NUMBER.filter(lambda number: isinstance(number, int)),
        st.none() | TEXT,
        FIELDS,
        st.fixed_dictionaries({}, optional={"json": FIELDS | VALUE, "embedding": st.lists(NUMBER, max_size=3)}),
    ),
    min_size=1,
    max_size=3,
)


def values_of(line: dict[str, Any]) -> dict[str, Any]:
    answer = line.get("json")
    fields = {f"json.{name}": value for name, value in answer.items()} if isinstance(answer, dict) else {}
    return {"id": line["id"], "text": line["text"], **fields, **{f"meta.{n}": v for n, v in line["meta"].items()}}


@given(LINES, st.sampled_from(["csv", "tsv"]), st.booleans(), st.booleans())
def test_every_value_comes_back_from_a_table(lines: list[dict[str, Any]], to: str, safe: bool, mark: bool) -> None:
    with TemporaryDirectory() as folder:
        written = shaped([put(Path(folder) / "r.jsonl", lines)], to, safe=safe, mark=mark)
    text = written.decode("utf-8-sig" if mark else "utf-8")
    rows = [*csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if to == "tsv" else ",", strict=True)]
    for line, row in zip(lines, rows, strict=True):
        for name, value in values_of(line).items():
            found = row[name]
            if value is None or isinstance(value, str):
                assert found in ((value or "",) if not safe else (value or "", f"'{value}"))
                assert not safe or not found.startswith(("=", "+", "-", "@", "\t", "\r", "\0"))
            else:
                assert json.loads(found) == value


@given(LINES)
def test_every_value_comes_back_from_parquet(lines: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        rows = pq.read_table(io.BytesIO(shaped([put(Path(folder) / "r.jsonl", lines)], "parquet"))).to_pylist()
    for line, row in zip(lines, rows, strict=True):
        for name, value in values_of({**line, "json": None}).items():
            as_json = isinstance(row[name], str) and not isinstance(value, str)
            assert (json.loads(row[name]) if as_json else row[name]) == value
        assert "json" not in line or json.loads(row["json"]) == line["json"]
