"""Evaluations: samples, repeats, several models side by side, answers against what is expected."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest

from .command import Command, Ended, Mock, lines_of, until

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


MODELS = ("mock-small", "mock-large", "vendor/mock.v2")
GOLD = ("yes", "no", "maybe")


def test_an_evaluation_from_end_to_end(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    """200 records, three models, two samples of each, what is right in the records; one command, then the report."""
    records = [
        {"id": number, "prompt": f"[[mock:text {GOLD[number % 3]}]] number {number}", "gold": GOLD[number % 3]}
        for number in range(200)
    ]
    for record in records[::10]:
        record["gold"] = "never"  # a tenth is wrong
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    models = [word for model in MODELS for word in ("-m", model)]
    run = ("run", "in.jsonl", "--base-url", mock.base_url, *models, "--repeat", "2", "-o", "answers/")
    done = llmbatch(*run, "--price", "1,2", "--summary", "json")
    assert done.code == 0, done.stderr
    counts = summary(done)
    assert (counts["records"], counts["ok"], counts["exit_code"]) == (1200, 1200, 0)
    assert {name: model["ok"] for name, model in counts["models"].items()} == dict.fromkeys(MODELS, 400)
    files = sorted(path.name for path in (tmp_path / "answers").glob("*.jsonl"))
    assert files == ["mock-large.jsonl", "mock-small.jsonl", "vendor-mock.v2.jsonl"]
    for name in files:
        assert len({(id, sample) for id, sample, _ in samples(tmp_path / "answers" / name)}) == 400
    again = summary(llmbatch(*run, "--summary", "json"))
    assert (again["requests"], again["done_before"]) == (0, 1200)

    paths = [f"answers/{name}" for name in files]
    report = ("report", *paths, "--expect", "text=meta.gold", "--compare", "--format")
    table = llmbatch(*report, "table")
    assert table.code == 0 and b"90.0%" in table.stdout and b"text against meta.gold" in table.stdout
    found = json.loads(llmbatch(*report, "json").stdout)
    assert [one["accuracy"] for one in found["expected"]["groups"].values()] == [0.9] * 3
    assert found["common"] == found["agreeing"] == 400
    wilson = NormalDist().inv_cdf(0.975) ** 2 / 200  # the samples of a record are equal: 200 records, not 400
    half = (wilson * (0.9 * 0.1 + wilson / 4)) ** 0.5
    bounds = [(0.9 + wilson / 2 - half) / (1 + wilson), (0.9 + wilson / 2 + half) / (1 + wilson)]
    for name, one in zip(paths, found["files"], strict=True):
        usages = [line["usage"] for line in lines_of(tmp_path / name)]
        dollars = sum(usage["input_tokens"] + 2 * usage["output_tokens"] for usage in usages) / 1e6
        assert one["cost_usd"] == pytest.approx(dollars)
        assert found["expected"]["groups"][name]["interval"] == pytest.approx(bounds, abs=1e-5)
    confusion = found["expected"]["groups"][paths[0]]["confusion"]
    assert sum(confusion["never"].values()) == 40 and sum(confusion[label][label] for label in GOLD) == 360
    page = llmbatch(*report, "html")
    assert page.code == 0 and page.stdout.count(b"90.0%") == 4 and b"<script" not in page.stdout
    by_model = json.loads(llmbatch("report", *paths, "--expect", "text=meta.gold", "--format", "json").stdout)
    assert by_model["expected"]["groups"].keys() == set(MODELS)
    for share, code in (("90%", 0), ("0.91", 1)):
        judged = llmbatch("report", *paths, "--expect", "text=meta.gold", "--min-accuracy", share)
        assert judged.code == code and ("less than --min-accuracy" in judged.stderr) == bool(code)
    unknown = llmbatch("report", *paths, "--expect", "text=meta.golden")
    assert unknown.code == 2 and "meta.gold?" in unknown.stderr


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("-m", "a", "-m", "a", "-o", "d/"), 2, "-m a is given twice"),
        (("-m", "a/b", "-m", "A-b", "-o", "d/"), 2, "would have one results file"),
        (("-m", "a", "-m", "b", "-o", "d.jsonl"), 2, "-o DIR/"),
        (("-m", "a", "-m", "b"), 2, "-o DIR/"),
        (("-m", "a", "-m", "b", "-o", "d/", "--processes", "2"), 2, "--part-size"),
        (("-m", "openai:a", "-m", "groq:b", "-o", "d/"), 4, "groq"),
        (("-m", "openai:a", "-m", "groq:b", "-o", "d/", "--key-env", "OPENAI_API_KEY"), 2, "several providers"),
        (("-m", "openai:a", "-m", "openai:b", "-o", "d/", "--tee"), 2, "--tee"),
        (("-m", "openai:a", "-m", "openai:b", "-o", "d/", "-"), 2, "stdin"),
    ],
)
def test_models_that_cannot_run_side_by_side_send_nothing(
    flags: tuple[str, ...], code: int, words: str, llmbatch: Command, questions: Path, tmp_path: Path
) -> None:
    input = () if "-" in flags else ("in.jsonl",)
    done = llmbatch("run", *input, *flags, env={"OPENAI_API_KEY": "sk-nobody"})
    assert done.code == code and words in done.stderr, done.stderr
    assert not (tmp_path / "d").exists() and not (tmp_path / "d.jsonl").exists()


def test_a_provider_in_front_of_a_model_is_one_unless_another_is_named(llmbatch: Command, questions: Path) -> None:
    done = llmbatch("run", "in.jsonl", "-m", "ollama:mistral:7b", "-m", "mock:x", "-o", "d/", "--dry-run")
    urls = {(line["body"]["model"]) for line in done.results}
    assert done.code == 0 and urls == {"mistral:7b", "x"}, done.stderr
    ollama = llmbatch("run", "in.jsonl", "-p", "ollama", "-m", "mistral:7b", "--dry-run")
    assert ollama.code == 0 and ollama.results[0]["body"]["model"] == "mistral:7b"


def test_with_a_part_size_each_model_has_a_folder_of_parts(
    llmbatch: Command, mock: Mock, questions: Path, tmp_path: Path
) -> None:
    models = ("-m", "small", "-m", "large")
    run = ("run", "in.jsonl", "--base-url", mock.base_url, *models, "-o", "answers/", "--part-size", "5")
    done = llmbatch(*run, "--repeat", "2", "--summary", "json")
    assert done.code == 0, done.stderr
    counts = summary(done)
    parts = len(list(tmp_path.glob("answers/*/part-*.jsonl")))
    assert (counts["ok"], counts["parts"]) == (48, {"complete": parts, "unfinished": 0, "busy": 0}) and parts > 2
    assert {name: model["ok"] for name, model in counts["models"].items()} == {"small": 24, "large": 24}
    for model in ("small", "large"):
        lines = [line for part in sorted(tmp_path.glob(f"answers/{model}/part-*.jsonl")) for line in lines_of(part)]
        assert sorted((line["id"], line["sample"]) for line in lines) == sorted(
            (record["id"], sample) for record in RECORDS for sample in range(2)
        )
    again = summary(llmbatch(*run, "--repeat", "2", "--summary", "json"))
    assert (again["requests"], again["done_before"]) == (0, 48)

    assert llmbatch("verify", "in.jsonl", "-o", "answers/").code == 0
    found = json.loads(llmbatch("report", "answers/", "--compare", "--format", "json").stdout)
    assert [one["file"] for one in found["files"]] == ["answers/large", "answers/small"] and found["common"] == 24
    assert len(llmbatch("convert", "answers/", "--to", "text").results) == 48
    mixed = llmbatch(*run[:-2], "--repeat", "2")
    assert mixed.code == 2 and "Add the --part-size of before" in mixed.stderr

    (tmp_path / "answers" / "small" / "part-00001.json").unlink()
    (tmp_path / "answers" / "small" / "part-00001.jsonl").unlink()
    account = json.loads(llmbatch("verify", "in.jsonl", "-o", "answers/", "--format", "json").stdout)
    missing = account["missing"]
    assert 0 < missing < 24 and {finding["results"] for finding in account["findings"]} == {"answers/small"}


def test_parts_of_several_models_are_interrupted_and_continued_together(
    llmbatch: Command, start_mock: Callable[..., Mock], questions: Path, tmp_path: Path
) -> None:
    mock = start_mock("--latency", "0.1")
    models = ("-m", "small", "-m", "large", "-c", "1")
    run = ("run", "in.jsonl", "--base-url", mock.base_url, *models, "-o", "answers/", "--part-size", "5")
    running = llmbatch.start(*run)
    until(lambda: len(mock.ledger("say")) > 3)
    running.signal(signal.SIGINT)
    assert running.end().code == 130
    assert llmbatch(*run).code == 0
    assert llmbatch("verify", "in.jsonl", "-o", "answers/").code == 0
    assert len(mock.ledger("say")) == 24  # what was in flight was waited for


def test_verify_of_a_folder_of_models_looks_for_each_record_in_each(
    llmbatch: Command, mock: Mock, questions: Path, tmp_path: Path
) -> None:
    run = ("run", "in.jsonl", "--base-url", mock.base_url, "-m", "small", "-m", "large", "-o", "answers/")
    assert llmbatch(*run).code == 0
    assert llmbatch("verify", "in.jsonl", "-o", "answers/").code == 0
    file = tmp_path / "answers" / "small.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    found = llmbatch("verify", "in.jsonl", "-o", "answers/")
    assert found.code == 1 and b"not in answers/small.jsonl" in found.stdout


@pytest.mark.parametrize("recorded", [True, False])
def test_verify_notices_a_sample_that_no_record_has(
    recorded: bool, llmbatch: Command, mock: Mock, questions: Path, tmp_path: Path
) -> None:
    assert llmbatch("run", "in.jsonl", *mock("-o", "out.jsonl"), "--repeat", "3").code == 0
    out = tmp_path / "out.jsonl"
    lines = [line for line in out.read_text().splitlines(keepends=True) if json.loads(line)["sample"] < 2]
    out.write_text("".join(lines))
    more = ()
    if not recorded:
        shutil.rmtree(tmp_path / "out.jsonl.state")
        assert llmbatch("verify", "in.jsonl", "-o", "out.jsonl").code == 0
        more = ("--repeat", "3")
    found = llmbatch("verify", "in.jsonl", "-o", "out.jsonl", *more, "--format", "json")
    assert found.code == 1 and json.loads(found.stdout)["missing"] == 12


def test_verify_takes_the_sample_of_the_run(llmbatch: Command, mock: Mock, questions: Path, tmp_path: Path) -> None:
    sample = ("--sample", "5", "--sample-seed", "7")
    assert llmbatch("run", "in.jsonl", *mock("-o", "out.jsonl"), *sample).code == 0
    assert llmbatch("verify", "in.jsonl", "-o", "out.jsonl", *sample).code == 0
    assert llmbatch("verify", "in.jsonl", "-o", "out.jsonl").code == 1
    other = llmbatch("verify", "in.jsonl", "-o", "out.jsonl", "--sample", "5")
    assert other.code == 1
