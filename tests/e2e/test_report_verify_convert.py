"""The three verbs as people run them."""

import csv
import io
import json
import re
import subprocess
from pathlib import Path

import pytest
from openai.types.chat import ChatCompletion

from tests.e2e.command import LLMBATCH, SAMPLES, Command, lines_of
from tests.support.result_lines import failed, ok, put


def test_a_run_is_verified_reported_and_converted(llmbatch: Command, tmp_path: Path) -> None:
    batch = SAMPLES / "openai-batch.jsonl"
    assert llmbatch("run", batch, "-p", "mock", "-o", "done.jsonl", "-q").code == 0
    count = len(lines_of(batch))

    verified = llmbatch("verify", batch, "-o", "done.jsonl")
    assert verified.code == 0 and verified.stderr == "" and b"complete" in verified.stdout

    told = json.loads(llmbatch("report", "done.jsonl", "--format", "json").stdout)
    assert told["records"] == told["ok"] == told["requests"] == count and told["output_tokens"] > 0

    converted = llmbatch("convert", "done.jsonl", "--to", "openai-batch")
    assert converted.code == 0
    assert {line["custom_id"] for line in converted.results} == {line["custom_id"] for line in lines_of(batch)}
    for line in converted.results:
        assert isinstance(line["custom_id"], str) and line["error"] is None and line["response"]["status_code"] == 200
        ChatCompletion.model_validate(line["response"]["body"], strict=True)

    table = llmbatch("convert", "done.jsonl", "--to", "csv", "-o", "done.csv")
    assert table.code == 0 and table.stdout == b""
    rows = list(csv.DictReader(io.StringIO((tmp_path / "done.csv").read_text(), newline="")))
    assert len(rows) == count and all(row["status"] == "ok" and row["text"] for row in rows)


def test_records_without_ids_templates_and_tables_are_verified_too(llmbatch: Command) -> None:
    reviews = SAMPLES / "reviews.csv"
    run = ("run", reviews, "-t", "{{ review }}", "-p", "mock", "-o", "r.jsonl", "-q", "--id-field", "none")
    assert llmbatch(*run).code == 0
    assert llmbatch("verify", reviews, "-o", "r.jsonl", "--id-field", "none").code == 0
    wrong = llmbatch("verify", reviews, "-o", "r.jsonl")
    assert wrong.code == 1 and "--id-field" in wrong.stderr


def test_what_is_wrong_is_shown_ten_at_a_time_or_as_json_lines(llmbatch: Command, tmp_path: Path) -> None:
    put(tmp_path / "in.jsonl", [{"id": f"q{n}", "prompt": "x"} for n in range(40)])
    put(tmp_path / "r1.jsonl", [ok(f"q{n}", n) for n in range(10)])
    put(tmp_path / "r2.jsonl", [failed("q10", 10), ok("q3", 3), ok("gone", 0)])
    short = llmbatch("verify", "in.jsonl", "-o", "r1.jsonl", "r2.jsonl")
    assert short.code == 1 and short.stdout.count(b"id 'q") == 10 + 1 and b"19 more; --all" in short.stdout
    every = llmbatch.shell("llmbatch verify in.jsonl -o r*.jsonl --all")
    assert every.code == 1 and "complete" in every.stderr
    problems = [line["problem"] for line in every.results]
    assert problems.count("missing") == 29 and problems.count("orphan") == problems.count("repeated") == 1
    counted = json.loads(llmbatch("verify", "-o", "r1.jsonl", "r2.jsonl", "--format", "json", stdin=["x"]).stdout)
    assert counted["records"] == counted["missing"] == 1 and counted["orphan"] == 12


def test_reports_come_as_table_and_page(llmbatch: Command, tmp_path: Path) -> None:
    evil = "\x1b[2J<blink>"
    put(tmp_path / "r.jsonl", [ok("a", 0, model=evil), ok("b", 1), failed("c", 2, evil)])
    table = llmbatch("report", "r.jsonl")
    assert table.code == 0 and table.stderr == "" and b"\x1b" not in table.stdout and b"m-1" in table.stdout
    page = llmbatch("report", "r.jsonl", "--format", "html")
    assert page.code == 0 and page.stdout.startswith(b"<!doctype html>") and b"<blink>" not in page.stdout
    seen = llmbatch.on_terminal("report", "r.jsonl", stdout=True)
    assert seen.code == 0 and not re.sub(rb"\x1b\[[0-9;]*m", b"", seen.stdout).count(b"\x1b")


def test_stdin_is_a_results_file_like_any_other(llmbatch: Command, tmp_path: Path) -> None:
    lines = [ok("a", 0), failed("b", 1)]
    assert json.loads(llmbatch("report", "--format", "json", stdin=lines).stdout)["records"] == 2
    assert llmbatch("convert", "-", "--to", "text", stdin=lines).stdout == b'"yes"\nnull\n'
    put(tmp_path / "r.jsonl", lines)
    assert llmbatch.shell("llmbatch convert <(head -n 1 r.jsonl) --to text").stdout == b'"yes"\n'


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("report", "nowhere.jsonl"), 3, "nowhere.jsonl"),
        (("convert", "nowhere.jsonl", "--to", "csv"), 3, "nowhere.jsonl"),
        (("verify", "in.jsonl", "-o", "nowhere.jsonl"), 3, "nowhere.jsonl"),
        (("report", "in.jsonl"), 2, "line 1"),
        (("convert", "broken.jsonl", "--to", "text"), 2, "line 2"),
        (("verify", "in.jsonl", "-o", "in.jsonl"), 2, "line 1"),
        (("verify", "in.jsonl", "-o", "broken.jsonl"), 1, ""),
        (("convert", "r.jsonl", "--to", "openai-batch"), 2, "--include response"),
        (("convert", "r.jsonl", "--to", "xml"), 2, "text, csv, tsv or parquet"),
        (("convert", "r.jsonl", "-o", "r.XLSX"), 2, "-o OUT.csv --excel"),
        (("convert", "r.jsonl", "--to", "csv", "--raw"), 2, "--raw"),
        (("convert", "r.jsonl", "--to", "text", "-o", "r.jsonl"), 2, "same file"),
        (("report", "r.jsonl", "r.jsonl"), 2, "given twice"),
        (("report", "r.jsonl", "--format", "pdf"), 2, "--format"),
        (("report", "-", "-"), 2, "only once"),
        (("verify", "-o", "-"), 2, "both be stdin"),
        (("verify", "in.jsonl"), 2, "--output"),
    ],
)
def test_exit_codes_and_one_message(
    llmbatch: Command, tmp_path: Path, args: tuple[str, ...], code: int, said: str
) -> None:
    put(tmp_path / "in.jsonl", [{"id": "a", "prompt": "x"}])
    put(tmp_path / "r.jsonl", [ok("a", 0)])
    put(tmp_path / "broken.jsonl", [ok("a", 0), b"broken\n"])
    done = llmbatch(*args)
    assert done.code == code and said in done.stderr and "Traceback" not in done.stderr
    assert code == 1 or done.stdout == b""


def test_a_reader_that_leaves_is_no_error_to_speak_of(llmbatch: Command, tmp_path: Path) -> None:
    put(tmp_path / "r.jsonl", [ok(None, n, "x" * 1000) for n in range(2000)])
    command = [LLMBATCH, "convert", "r.jsonl", "--to", "text"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(20) == 141 and process.stderr.read() == b""


def test_results_are_not_written_behind_themselves(llmbatch: Command, tmp_path: Path) -> None:
    before = Path(put(tmp_path / "r.jsonl", [ok("a", 0)])).read_bytes()
    assert llmbatch.shell("llmbatch convert r.jsonl --to text >> r.jsonl").code == 2
    assert (tmp_path / "r.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "llmbatch report r.jsonl --format json >> r.jsonl",
        "llmbatch verify in.jsonl -o r.jsonl --all >> in.jsonl",
        "llmbatch verify in.jsonl -o r.jsonl >> alias.jsonl",
        "llmbatch convert alias.jsonl --to text >> r.jsonl",
        "llmbatch convert - --to text < r.jsonl >> r.jsonl",
        "llmbatch run in.jsonl -p mock >> in.jsonl",
        "llmbatch run -p mock < in.jsonl >> in.jsonl",
        "llmbatch run in.jsonl -p mock --dry-run >> in.jsonl",
        "llmbatch run in.jsonl -p mock -t @t.txt >> t.txt",
        "llmbatch run in.jsonl -p mock -o r2.jsonl --tee >> in.jsonl",
    ],
)
def test_stdout_is_never_what_is_read(llmbatch: Command, tmp_path: Path, line: str) -> None:
    put(tmp_path / "in.jsonl", [{"id": "a", "prompt": "x"}])
    put(tmp_path / "r.jsonl", [ok("a", 0)])
    (tmp_path / "t.txt").write_text("{{ prompt }}")
    (tmp_path / "alias.jsonl").symlink_to("r.jsonl")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    done = llmbatch.shell(line)
    assert done.code == 2 and "stdout is the same file" in done.stderr, done.stderr
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def test_a_full_disk_is_exit_6(llmbatch: Command, tmp_path: Path) -> None:
    put(tmp_path / "r.jsonl", [ok("a", 0)])
    done = llmbatch.shell("llmbatch convert r.jsonl --to text > /dev/full")
    assert done.code == 6 and "No space" in done.stderr
