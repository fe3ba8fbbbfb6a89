"""`-o X.csv` and its like: a results file beside it, a table at the end of each run."""

import csv
import io
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.support.result_lines import ok, put

from .command import Command, Mock, lines_of, until

RECORDS = [{"id": f"r{number}", "prompt": f'say "{number}",\n\tplease', "row": number} for number in range(12)]


def rows_of(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".parquet":
        return [{k: str(v) for k, v in row.items()} for row in pyarrow.parquet.read_table(path).to_pylist()]
    text = io.StringIO(path.read_text(), newline="")
    return list(csv.DictReader(text, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("name", ["X.csv", "X.tsv", "X.parquet", "a.b.CSV"])
def test_the_table_has_the_answers_of_the_results_file_beside_it(
    llmbatch: Command, mock: Mock, tmp_path: Path, name: str
) -> None:
    source = put(tmp_path / "in.jsonl", RECORDS)
    run = ("run", source, "--base-url", mock.base_url, "-m", "m", "-o", name)
    done = llmbatch(*run)
    results = tmp_path / f"{Path(name).stem}.jsonl"
    assert done.code == 0 and done.stderr.count(f"results are kept in {results.name}") == 1, done.stderr
    rows = rows_of(tmp_path / name)
    by_id = {line["id"]: line["text"] for line in lines_of(results)}
    assert {row["id"]: row["text"] for row in rows} == by_id and len(by_id) == 12
    assert {row["meta.row"] for row in rows} == {str(number) for number in range(12)}
    assert {path.name for path in tmp_path.glob(f"{Path(name).stem}*")} == {name, results.name, f"{results.name}.state"}
    before = (tmp_path / name).stat()
    again = llmbatch(*run)
    assert again.code == 0 and "12 done, 0 to send" in again.stderr
    assert (tmp_path / name).stat().st_mtime_ns == before.st_mtime_ns and before.st_mode & 0o777 == 0o600
    for verb in (("report", name), ("verify", source, "-o", name), ("convert", name, "--to", "text")):
        assert llmbatch(*verb).code == 0, verb
    put(tmp_path / "in.jsonl", [*RECORDS, {"id": "new", "prompt": "more"}])
    assert llmbatch(*run).code == 0 and len(rows_of(tmp_path / name)) == 13
    (tmp_path / name).unlink()
    assert llmbatch(*run).code == 0 and len(rows_of(tmp_path / name)) == 13, "it is written anew"


def test_an_early_end_writes_the_table_and_a_killed_run_leaves_it_to_the_next(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    mock = start_mock("--latency", "0.2")
    put(tmp_path / "in.jsonl", [{"id": n, "prompt": f"p{n}"} for n in range(40)])
    run = ("run", "in.jsonl", "--base-url", mock.base_url, "-m", "m", "-c", "2", "-o", "X.csv")
    running = llmbatch.start(*run)
    until(lambda: (tmp_path / "X.jsonl").exists() and len(lines_of(tmp_path / "X.jsonl")) >= 2)
    running.signal(signal.SIGINT)
    assert running.wait() == 130
    interrupted = len(rows_of(tmp_path / "X.csv"))
    assert interrupted == len(lines_of(tmp_path / "X.jsonl")) >= 2
    running = llmbatch.start(*run)
    until(lambda: len(lines_of(tmp_path / "X.jsonl")) > interrupted + 1)
    running.signal(signal.SIGKILL)
    running.wait()
    assert len(rows_of(tmp_path / "X.csv")) == interrupted
    assert llmbatch(*run, "-c", "40").code == 0
    assert len(rows_of(tmp_path / "X.csv")) == 40 and llmbatch("verify", "in.jsonl", "-o", "X.csv").code == 0


def test_a_table_of_somebody_else_is_not_written_over(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    put(tmp_path / "in.jsonl", RECORDS)
    run = ("run", "in.jsonl", "--base-url", mock.base_url, "-m", "m", "-o", "X.csv")
    (tmp_path / "X.csv").write_text("my,own\ntable,1\n")
    asked = len(mock.ledger())
    done = llmbatch(*run)
    assert done.code == 2 and "X.csv" in done.stderr and "--overwrite" in done.stderr
    assert (tmp_path / "X.csv").read_text() == "my,own\ntable,1\n" and len(mock.ledger()) == asked
    assert not (tmp_path / "X.jsonl").exists() and not (tmp_path / "X.jsonl.state").exists()
    assert llmbatch(*run, "--overwrite").code == 0 and len(rows_of(tmp_path / "X.csv")) == 12
    (tmp_path / "X.csv").write_text((tmp_path / "X.csv").read_text() + "a note of mine\n")
    edited = llmbatch(*run)
    assert edited.code == 2 and (tmp_path / "X.csv").read_text().endswith("a note of mine\n")
    (tmp_path / "X.csv").rename(tmp_path / "mine.csv")
    assert llmbatch(*run).code == 0 and len(rows_of(tmp_path / "X.csv")) == 12


def test_a_table_that_is_copied_or_touched_is_still_known(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    put(tmp_path / "in.jsonl", RECORDS)
    run = ("run", "in.jsonl", "--base-url", mock.base_url, "-m", "m", "-o", "X.csv")
    assert llmbatch(*run).code == 0
    assert (
        llmbatch.shell("mkdir moved && cp -r X.* in.jsonl moved && rm -r X.* && mv moved/* . && touch X.csv").code == 0
    )
    put(tmp_path / "in.jsonl", [*RECORDS, {"id": "new", "prompt": "more"}])
    assert llmbatch(*run).code == 0 and len(rows_of(tmp_path / "X.csv")) == 13


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_what_lies_where_the_results_would_be_kept_is_never_touched(
    llmbatch: Command, tmp_path: Path, more: tuple[str, ...]
) -> None:
    put(tmp_path / "X.jsonl", RECORDS)
    before = (tmp_path / "X.jsonl").read_bytes()
    own = llmbatch("run", "X.jsonl", "-p", "mock", "-o", "X.csv", *more)
    assert own.code == 2 and "X.jsonl (for -o X.csv) is the same file as the input" in own.stderr
    other = llmbatch("run", "-p", "mock", "-o", "X.csv", *more, stdin=["hi"])
    assert other.code == 2 and "Choose another name for -o" in other.stderr
    (tmp_path / "Y.csv").write_text("prompt\nhi\n")
    table = llmbatch("run", "Y.csv", "-p", "mock", "-o", "Y.csv", *more)
    assert table.code == 2 and "same file" in table.stderr
    assert (tmp_path / "X.jsonl").read_bytes() == before and len(list(tmp_path.iterdir())) == 2


def test_a_table_that_cannot_be_written_costs_no_answer(llmbatch: Command, tmp_path: Path) -> None:
    records = [{"id": n, "prompt": "x", f"field {n}": 1} for n in range(1001)]
    put(tmp_path / "in.jsonl", records)
    done = llmbatch("run", "in.jsonl", "-p", "mock", "-c", "64", "-o", "X.csv")
    assert done.code == 6 and "X.jsonl" in done.stderr and "--meta-columns" in done.stderr, done.stderr
    assert len(lines_of(tmp_path / "X.jsonl")) == 1001 and not (tmp_path / "X.csv").exists()
    assert llmbatch("run", "in.jsonl", "-p", "mock", "-o", "X.csv", "--meta", "none").code == 6


def test_earlier_results_become_a_table(llmbatch: Command, tmp_path: Path) -> None:
    put(tmp_path / "in.jsonl", [{"id": "a", "prompt": "x"}])
    assert llmbatch("run", "in.jsonl", "-p", "mock", "-o", "X.jsonl").code == 0
    assert llmbatch("run", "in.jsonl", "-p", "mock", "-o", "X.tsv").code == 0
    assert llmbatch("run", "in.jsonl", "-p", "mock", "-o", "X.csv").code == 0
    assert [row["id"] for name in ("X.tsv", "X.csv") for row in rows_of(tmp_path / name)] == ["a", "a"]


def test_from_python_the_table_is_written_too(llmbatch: Command, tmp_path: Path) -> None:
    script = "import llmbatch; print(len(list(llmbatch.run(['a', 'b'], provider='mock', output='X.csv'))))"
    done = llmbatch.shell(f'"$PYTHON" -c "{script}"', env={"PYTHON": __import__("sys").executable})
    assert done.code == 0 and done.stdout == b"2\n" and len(rows_of(tmp_path / "X.csv")) == 2, done.stderr


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.parquet"])
def test_convert_takes_the_shape_from_the_name(llmbatch: Command, tmp_path: Path, name: str) -> None:
    put(tmp_path / "r.jsonl", [ok("a", 0, 'one\ttwo\n"three"')])
    assert llmbatch("convert", "r.jsonl", "-o", name).code == 0
    assert [row["text"] for row in rows_of(tmp_path / name)] == ['one\ttwo\n"three"']
    assert llmbatch("convert", "r.jsonl", "-o", "out.txt").code == 2
    assert json.loads(llmbatch("convert", "r.jsonl", "-o", "-", "--to", "text").stdout) == 'one\ttwo\n"three"'


def test_a_table_of_an_earlier_version_is_named_with_what_it_holds(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    source = put(tmp_path / "in.jsonl", RECORDS)
    old = put(tmp_path / "X.csv", [ok("r1", 1)])
    before = Path(old).read_bytes()
    done = llmbatch("run", source, "--base-url", mock.base_url, "-m", "m", "-o", "X.csv")
    assert done.code == 2 and "JSON Lines" in done.stderr and "mv X.csv X.jsonl" in done.stderr, done.stderr
    assert Path(old).read_bytes() == before
