"""Evaluations: samples, repeats, several models side by side, answers against what is expected."""

import json
from pathlib import Path
from typing import Any

import pytest

from .command import Command, Ended, Mock, lines_of

RECORDS = [{"id": f"q{number}", "prompt": f"say {number % 3}"} for number in range(12)]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


def summary(done: Ended) -> dict[str, Any]:
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(line)
    return found


def samples(path: Path) -> list[tuple[Any, Any, int]]:
    return [(line["id"], line.get("sample"), line["index"]) for line in lines_of(path)]


def test_each_sample_of_a_record_is_a_line_of_its_own_and_more_can_be_added(
    llmbatch: Command, mock: Mock, questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    run = ("run", "in.jsonl", *mock("-o", "out.jsonl"), "--summary", "json")
    assert llmbatch(*run, "--limit", "10").code == 0  # without samples
    assert llmbatch(*run, "--repeat", "2", "--limit", "7").code == 0
    done = llmbatch(*run, "--repeat", "3", "--ordered")
    assert done.code == 0, done.stderr
    counts = summary(done)
    assert (counts["ok"], counts["done_before"]) == (12 * 3 - 17, 17)
    found = samples(out)
    assert [(id, sample or 0, index) for id, sample, index in found] == [
        (record["id"], sample, index) for index, record in enumerate(RECORDS) for sample in range(3)
    ]
    again = llmbatch(*run, "--repeat", "3")
    assert (again.code, summary(again)["done_before"], summary(again)["requests"]) == (0, 36, 0)
    checked = llmbatch("verify", "in.jsonl", "-o", "out.jsonl", "--format", "json")
    assert checked.code == 0 and json.loads(checked.stdout.splitlines()[-1])["records"] == 36
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:7] + lines[8:]))
    missing = llmbatch("verify", "in.jsonl", "-o", "out.jsonl", "--format", "json")
    assert missing.code == 1 and b'"id":"q2","sample":1' in missing.stdout


def test_samples_share_no_answer(llmbatch: Command, mock: Mock, questions: Path, tmp_path: Path) -> None:
    run = ("run", "in.jsonl", *mock(), "--repeat", "2", "--dedupe", "-c", "1")
    assert llmbatch(*run, "-o", "out.jsonl").code == 0
    lines = lines_of(tmp_path / "out.jsonl")
    sent = [line for line in lines if not line.get("deduplicated")]
    assert (len(lines), len(sent)) == (24, 3 * 2)  # three questions that differ, each twice
    done = llmbatch(*run, "-o", "other.jsonl", "--repeat", "3", "--reuse", "out.jsonl", "--summary", "json")
    assert done.code == 0 and summary(done)["requests"] == 3  # the third sample of each


def test_a_sample_is_the_same_from_a_file_and_from_stdin(
    llmbatch: Command, mock: Mock, questions: Path, tmp_path: Path
) -> None:
    of_file = llmbatch("run", "in.jsonl", *mock(), "--sample", "5", "--ordered")
    of_stdin = llmbatch("run", *mock(), "--sample", "5", "--ordered", stdin=RECORDS)
    other = llmbatch("run", "in.jsonl", *mock(), "--sample", "5", "--sample-seed", "7", "--ordered")
    ids = [[line["id"] for line in done.results] for done in (of_file, of_stdin, other)]
    assert ids[0] == ids[1] != ids[2] and [len(each) for each in ids] == [5, 5, 5]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--sample", "5", "--limit", "2"), "both choose records"),
        (("--sample-seed", "5"), "is for --sample"),
        (("--repeat", "0"), "--repeat"),
        (("--repeat", "5000"), "at most 1,024"),
    ],
)
def test_what_does_not_go_together_is_exit_2(
    flags: tuple[str, ...], words: str, llmbatch: Command, mock: Mock, questions: Path
) -> None:
    done = llmbatch("run", "in.jsonl", *mock(), *flags)
    assert done.code == 2 and words in done.stderr
