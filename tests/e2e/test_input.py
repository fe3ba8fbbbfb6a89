"""Every format and compression through the command, and input that is bad in every way."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from .command import Command, Mock, lines_of

RECORDS = [{"id": "a", "prompt": "first question"}, {"id": "b", "prompt": "second, longer\nquestion"}]


def _jsonl() -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)


FORMATS = {
    "in.jsonl": _jsonl(),
    "in.ndjson": _jsonl(),
    "in.json": json.dumps(RECORDS).encode(),
    "in.csv": b'id,prompt\na,first question\nb,"second, longer\nquestion"\n',
    "in.tsv": b'id\tprompt\na\tfirst question\nb\t"second, longer\nquestion"\n',
    "in.txt": b"first question\nsecond, longer\n",
}
COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize(
    ("name", "compression"),
    [*((name, "") for name in FORMATS), ("in.jsonl", ".gz"), ("in.csv", ".bz2"), ("in.json", ".xz")],
)
def test_every_format_is_read_by_its_name(
    name: str, compression: str, llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    path = tmp_path / (name + compression)
    path.write_bytes(COMPRESSIONS[compression](FORMATS[name]))  # type: ignore[operator]
    done = llmbatch("run", path, *mock("-k"))
    assert done.code == 0, done.stderr
    first, second = done.results
    assert first["id"] == (None if name == "in.txt" else "a")
    assert "first question" in first["text"] and "second" in second["text"]


@pytest.mark.parametrize(
    ("form", "content"),
    [("jsonl", _jsonl()), ("json", FORMATS["in.json"]), ("csv", FORMATS["in.csv"]), ("text", FORMATS["in.txt"])],
)
def test_stdin_is_read_in_the_format_that_is_named(form: str, content: bytes, llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", "-", "--input-format", form, *mock(), stdin=content)
    assert done.code == 0 and len(done.results) == 2


def test_several_inputs_and_stdin_are_one_input(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_bytes(FORMATS["in.csv"])
    (tmp_path / "two.jsonl").write_bytes(b'{"id": "c", "prompt": "third"}')  # no end of line
    done = llmbatch("run", "one.csv", "-", "two.jsonl", *mock("-k"), stdin=[{"id": "s", "prompt": "from stdin"}])
    assert [(r["id"], r["index"]) for r in done.results] == [("a", 0), ("b", 1), ("s", 2), ("c", 3)]


def test_cookbook_requests_keep_their_metadata(llmbatch: Command, mock: Mock) -> None:
    line = {"model": "mock-1", "messages": [{"role": "user", "content": "hi"}], "metadata": {"row": 1}}
    done = llmbatch("run", "--input-format", "cookbook", *mock("--include", "request"), stdin=[line])
    assert done.code == 0
    assert done.result["request"]["messages"] == line["messages"]


def test_limit_takes_the_first_records(llmbatch: Command, mock: Mock) -> None:
    records = [{"id": n, "prompt": f"limit question {n}"} for n in range(100)]
    done = llmbatch("run", *mock("--limit", 7, "-k"), stdin=records)
    assert [r["id"] for r in done.results] == list(range(7))
    assert len(mock.ledger("limit question")) == 7


def test_strict_sends_nothing_when_a_record_is_bad(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"prompt": "strict question"}\n{"prompt": 3}\nnot json\n')
    done = llmbatch("run", "in.jsonl", *mock("--strict"))
    assert done.code == 3 and done.stdout == b""
    assert "line 2" in done.stderr and "line 3" in done.stderr
    assert not mock.ledger("strict question")
    assert llmbatch("run", *mock("--strict"), stdin=["hi"]).code == 2


def test_another_field_can_be_the_id_or_none(llmbatch: Command, mock: Mock) -> None:
    record = {"id": "a", "row": 7, "prompt": "hi"}
    assert llmbatch("run", *mock("--id-field", "row"), stdin=[record]).result["id"] == 7
    none = llmbatch("run", *mock("--id-field", "none"), stdin=[record]).result
    assert none["id"] is None and none["meta"] == {"id": "a", "row": 7}


def test_meta_can_be_left_out_or_chosen(llmbatch: Command, mock: Mock) -> None:
    record = {"id": "a", "prompt": "hi", "x": 1, "y": {"z": [None]}}
    assert llmbatch("run", *mock(), stdin=[record]).result["meta"] == {"x": 1, "y": {"z": [None]}}
    assert llmbatch("run", *mock("--meta", "none"), stdin=[record]).result["meta"] == {}
    assert llmbatch("run", *mock("--meta", "y,prompt"), stdin=[record]).result["meta"] == {
        "prompt": "hi",
        "y": {"z": [None]},
    }


def test_parameters_of_shaped_records_are_sent_and_said_once(llmbatch: Command, mock: Mock) -> None:
    record = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0, "user": "u1", "row": 7}
    done = llmbatch("run", *mock("--include", "request"), stdin=[record, record])
    assert done.results[0]["request"]["temperature"] == 0 and done.results[0]["request"]["user"] == "u1"
    assert done.results[0]["meta"] == {"row": 7}
    assert done.stderr.count("sent as parameters: temperature, user") == 1
    kept = llmbatch("run", *mock("--include", "request", "--meta-field", "user"), stdin=[record])
    assert "user" not in kept.result["request"] and kept.result["meta"] == {"user": "u1", "row": 7}


BAD_LINES = {
    "not JSON": b'{"id": "x", "prompt": "unclosed}',
    "not UTF-8": b'{"prompt": "\xff"}',
    "NaN": b'{"id": "x0", "prompt": "hi", "params": {"temperature": NaN}}',
    "a lone surrogate": b'{"id": "x1", "prompt": "\\ud800"}',
    "a number": b"17",
    "no prompt": b'{"id": "x2"}',
    "a prompt of numbers": b'{"id": "x3", "prompt": [1]}',
    "an unusable id": b'{"id": [1], "prompt": "hi"}',
    "params that are none": b'{"id": "x4", "prompt": "hi", "params": 3}',
    "a url elsewhere": b'{"custom_id": "x", "method": "POST", "url": "https://evil.example/", "body": {}}',
    "too deep": b'{"prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "too long": b'{"prompt": "' + b"x" * 3000 + b'"}',
    "a repeated id": b'{"id": "good", "prompt": "again"}',
}


def test_every_bad_line_is_one_failed_result_and_the_rest_goes_on(llmbatch: Command, mock: Mock) -> None:
    good = [
        b'{"id": "good", "prompt": "before"}',
        *(b'{"id": %d, "prompt": "next"}' % n for n in range(len(BAD_LINES))),
    ]
    lines = [good[0]]
    for bad_line, after in zip(BAD_LINES.values(), good[1:], strict=True):
        lines += [bad_line, after]
    done = llmbatch("run", *mock("-k", "--max-line", 2000), stdin=b"\n".join(lines))
    assert done.code == 1 and len(done.results) == len(lines)
    assert all(r["status"] == "ok" for r in done.results[::2])
    for number, (name, bad) in enumerate(zip(BAD_LINES, done.results[1::2], strict=True)):
        assert bad["status"] == "failed" and bad["attempts"] == 0 and bad["key"] is None, name
        assert bad["error"]["kind"] == ("duplicate_id" if name == "a repeated id" else "invalid_record"), name
        assert f"line {2 * number + 2}" in bad["error"]["message"], name


def test_unusual_but_whole_lines_are_answered(llmbatch: Command, mock: Mock) -> None:
    stdin = (
        b'\xef\xbb\xbf{"id": 1, "prompt": "byte order mark"}\r\n'
        b"\n   \n"
        b'{"id": 2, "prompt": "line separator \xe2\x80\xa8 inside"}\n'
        b'{"id": 3, "prompt": "escaped \\u2028 and \\ud83d\\ude00 and \\u0000"}\n'
        b'{"id": 4, "prompt": "no end of line"}'
    )
    done = llmbatch("run", *mock("-k", "--include", "request"), stdin=stdin)
    assert done.code == 0, done.stderr
    asked = [r["request"]["messages"][0]["content"] for r in done.results]
    assert asked == [
        "byte order mark",
        "line separator \u2028 inside",
        "escaped \u2028 and \U0001f600 and \x00",
        "no end of line",
    ]


def test_a_missing_template_field_fails_its_record_only(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch(
        "run", *mock("-k", "-t", "About {{ topic }}"), stdin=[{"topic": "a"}, {"theme": "b"}, {"topic": "c"}]
    )
    assert [r["status"] for r in done.results] == ["ok", "failed", "ok"]
    assert "no field 'topic'" in done.results[1]["error"]["message"]


def test_prompts_are_never_templates(llmbatch: Command, mock: Mock) -> None:
    record = {"prompt": "{{ 7 * 7 }} {% raw %}", "system": "{{ prompt }}"}
    request = llmbatch("run", *mock("--include", "request"), stdin=[record]).result["request"]
    assert [m["content"] for m in request["messages"]] == ["{{ prompt }}", "{{ 7 * 7 }} {% raw %}"]


def test_many_bad_lines_do_not_make_a_run_without_end(llmbatch: Command, mock: Mock) -> None:
    stdin = b'"fine"\n' + b"{broken\n" * 5000
    done = llmbatch("run", *mock("-q"), stdin=stdin)
    assert done.code == 1 and len(done.results) == 5001


def test_compressed_bytes_on_a_pipe_are_opened(llmbatch: Command, mock: Mock) -> None:
    lines = b'"one"\n"two"\n'
    for data in (gzip.compress(lines), bz2.compress(lines), lzma.compress(lines)):
        done = llmbatch("run", *mock(), stdin=data)
        assert done.code == 0 and len(done.results) == 2


def test_folders_and_quoted_patterns_are_inputs_and_results_files_are_not(llmbatch: Command, tmp_path: Path) -> None:
    folder = llmbatch.home / "data"
    (folder / "deeper").mkdir(parents=True)
    (folder / "b.csv").write_text("prompt\nfrom b\n")
    (folder / "a.jsonl").write_text('"from a"\n')
    (folder / "notes.xyz").write_text("no input\n")
    (folder / ".hidden.jsonl").write_text('"hidden"\n')
    (folder / "deeper" / "c.txt").write_text("from c\n")
    first = llmbatch("run", "data", "-p", "mock", "-o", "data/out.jsonl")
    again = llmbatch("run", "data", "-p", "mock", "-o", "data/out.jsonl")
    assert (first.code, again.code) == (0, 0) and "2 done, 0 to send" in again.stderr
    assert llmbatch("verify", "data", "-o", "data/out.jsonl").code == 0
    asked = llmbatch("run", "data/**/*.[ct]*", "-p", "mock", "--dry-run").results
    assert [line["body"]["messages"][0]["content"] for line in asked] == ["from b", "from c"]
    for name, words in (("data/*.parquet", "no file matches"), ("empty", "without a file of a known format")):
        (llmbatch.home / "empty").mkdir(exist_ok=True)
        refused = llmbatch("run", name, "-p", "mock")
        assert refused.code == 3 and words in refused.stderr
    (llmbatch.home / "[x].jsonl").write_text('"itself"\n')
    assert llmbatch("run", "[x].jsonl", "-p", "mock").code == 0


def test_the_delimiter_holds_for_the_run_and_for_verify(llmbatch: Command, mock: Mock) -> None:
    (llmbatch.home / "in.csv").write_text("id;prompt\n1;say a, b\n")
    run = ("run", "in.csv", *mock(), "-o", "r.jsonl")
    assert llmbatch(*run, "--delimiter", ";").code == 0 and len(mock.ledger("say a, b")) == 1
    assert llmbatch("verify", "in.csv", "-o", "r.jsonl", "--delimiter", ";").code == 0
    assert llmbatch("run", "in.csv", "-p", "mock", "--delimiter", ";;").code == 2
    (llmbatch.home / "in.jsonl").write_text('"a"\n')
    assert "goes with CSV" in llmbatch("run", "in.jsonl", "-p", "mock", "--delimiter", "tab").stderr
    piped = llmbatch("run", "-p", "mock", "--delimiter", "\\t", "--dry-run", stdin=b"id\tprompt\n1\ta\n")
    assert piped.result["id"] == "1"


def test_a_name_that_no_record_has_sends_nothing(llmbatch: Command, mock: Mock) -> None:
    records = [{"uid": number, "prompt": f"unasked {number}"} for number in range(300)]
    (llmbatch.home / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for flags in (("--id-field", "uidd"), ("--meta", "uid,labell"), ("--image", "file")):
        for inputs, stdin in (("in.jsonl", b""), ("-", records)):
            done = llmbatch("run", inputs, *mock(), *flags, stdin=stdin)
            assert done.code == 2 and flags[0] in done.stderr and done.stdout == b""
    assert mock.ledger("unasked") == []
    (llmbatch.home / "r.jsonl").write_text("")
    done = llmbatch("verify", "in.jsonl", "-o", "r.jsonl", "--id-field", "uidd")
    assert done.code == 2 and "Did you mean 'uid'?" in done.stderr


def test_records_that_are_all_invalid_alike_send_nothing_unless_the_file_has_results(
    llmbatch: Command, mock: Mock
) -> None:
    run = ("run", "in.jsonl", *mock(), "-o", "r.jsonl")
    bad = "".join(f'{{"id":{number},"messages":"{number}"}}\n' for number in range(150))
    (llmbatch.home / "in.jsonl").write_text(bad)
    refused = llmbatch(*run)
    assert refused.code == 3 and "messages must be an array" in refused.stderr
    assert not (llmbatch.home / "r.jsonl").exists() or (llmbatch.home / "r.jsonl").read_bytes() == b""
    assert llmbatch("run", "in.jsonl", "--dry-run", "-p", "mock").code == 3
    (llmbatch.home / "in.jsonl").write_text('{"id":"good","prompt":"a"}\n')
    assert llmbatch(*run).code == 0
    (llmbatch.home / "in.jsonl").write_text(bad + '{"id":"good","prompt":"a"}\n')
    assert llmbatch(*run).code == 1


def test_a_first_line_that_is_bad_is_answered_before_the_next_one_comes(llmbatch: Command) -> None:
    running = llmbatch.start("run", "-p", "mock")
    running.write("good")
    assert running.read_line()["status"] == "ok"
    running.write({"prompt": ""})
    assert running.read_line()["status"] == "failed"


def test_an_input_that_is_replaced_while_it_is_read_is_read_to_its_old_end(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    mock = start_mock("--latency", "0.02")
    asked = tmp_path / "in.jsonl"
    old, new = [[{"id": f"{name}{n}", "prompt": name * 1000} for n in range(3000)] for name in ("old", "new")]
    asked.write_text("".join(json.dumps(record) + "\n" for record in old))  # more than is read at once
    run = llmbatch.start("run", asked, *mock("-o", "out.jsonl", "-c", 64, "-b", 8))
    while not mock.ledger():
        assert run.process.poll() is None
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(record) + "\n" for record in new))
    (tmp_path / "new.jsonl").replace(asked)
    assert run.end().code == 0
    assert {line["id"] for line in lines_of(tmp_path / "out.jsonl")} == {record["id"] for record in old}
