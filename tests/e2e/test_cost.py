"""`--max-cost` and `--price` on the command line."""

import json
from pathlib import Path

import pytest

from .command import Command, Mock, lines_of

PRICE = ("--price", "10,1000", "--max-tokens", "20")


def test_the_ceiling_holds_over_several_runs_and_each_ends_to_be_continued(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'"ceiling {n}"\n' for n in range(60)))
    out = tmp_path / "out.jsonl"
    spent, answers = 0.0, 0
    for ceiling in (0.3, 0.6):
        done = llmbatch("run", "in.jsonl", *mock(*PRICE), "--max-cost", ceiling, "-o", out, "--summary", "json")
        assert done.code == 5, done.stderr
        assert f"--max-cost ${ceiling:g}" in done.stderr and "\nllmbatch run in.jsonl" in done.stderr
        lines = lines_of(out)
        cost = sum(line["cost_usd"] for line in lines)
        assert ceiling - 0.03 < cost <= ceiling
        summary = next(json.loads(line) for line in done.stderr.splitlines() if line.startswith("{"))
        assert summary["cost_usd"] == pytest.approx(cost - spent)
        spent, answers = cost, len(lines)
    assert len(mock.ledger("ceiling")) == answers
    done = llmbatch("run", "in.jsonl", *mock(*PRICE), "--max-cost", 100, "-o", out)
    assert done.code == 0 and len(lines_of(out)) == 60
    total = sum(line["cost_usd"] for line in lines_of(out))
    assert json.loads(llmbatch("report", out, "--format", "json").stdout)["cost_usd"] == pytest.approx(total)


def test_what_an_attempt_cost_stays_in_the_file_when_its_line_is_replaced(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    out, source = tmp_path / "out.jsonl", tmp_path / "in.jsonl"
    for text in ("before", "after the edit"):
        source.write_text(json.dumps({"id": 1, "prompt": text}) + "\n")
        assert llmbatch("run", source, *mock(*PRICE), "-o", out).code == 0
    first, second = (
        llmbatch("run", *mock(*PRICE), stdin=[{"id": 1, "prompt": text}]).result["cost_usd"]
        for text in ("before", "after the edit")
    )
    (line,) = lines_of(out)
    assert line["cost_usd"] == pytest.approx(first + second)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max-cost", "1"), "--max-cost needs a price"),
        (("--max-cost", "1", "--price", "1,1"), "--max-cost needs to know the longest answer"),
        (("--max-cost", "nan"), "not an amount"),
        (("--max-cost", "0"), "not an amount"),
        (("--max-cost", "-1"), "not an amount"),
        (("--price", "1"), "is not IN,OUT"),
        (("--price", "1,-1"), "is not IN,OUT"),
        (("--price", "1,inf"), "is not IN,OUT"),
    ],
)
def test_a_ceiling_that_could_not_hold_is_refused_before_anything_is_sent(
    flags: tuple[str, ...], message: str, llmbatch: Command, mock: Mock
) -> None:
    done = llmbatch("run", *mock(*flags), stdin=["refused ceiling"])
    assert done.code == 2 and message in done.stderr and done.stdout == b""
    assert not mock.ledger("refused ceiling")


def test_a_record_without_a_cap_among_others_is_one_failed_line(llmbatch: Command, mock: Mock) -> None:
    capped = {"prompt": "capped", "params": {"max_tokens": 5}}
    done = llmbatch("run", *mock("--price", "1,1", "--max-cost", "1"), stdin=[capped, "not capped", capped])
    assert done.code == 1 and [line["status"] for line in done.results].count("ok") == 2
    (failed,) = (line for line in done.results if line["status"] == "failed")
    assert failed["error"]["kind"] == "invalid_record" and "--max-tokens" in failed["error"]["message"]


def test_a_dry_run_estimates_the_cost(llmbatch: Command) -> None:
    done = llmbatch("run", "-p", "mock", *PRICE, "--dry-run", stdin=["what will it cost"])
    assert done.code == 0 and "for the prompts, at most about $0.02" in done.stderr
    assert "$" not in llmbatch("run", "-p", "mock", "--dry-run", stdin=["what will it cost"]).stderr


@pytest.mark.parametrize("stream", [(), ("--stream",)])
def test_a_service_that_counts_nothing_but_zeros_meets_the_ceiling_all_the_same(
    stream: tuple[str, ...], llmbatch: Command, mock: Mock
) -> None:
    word = "streamed" if stream else "whole"
    prompts = [f"{word} zeros {n} [[mock:zero-usage]]" for n in range(20)]
    done = llmbatch("run", *mock(*PRICE, *stream), "--max-cost", "0.1", stdin=prompts)
    assert done.code == 5, done.stderr
    assert 1 <= len(mock.ledger(f"{word} zeros")) <= 5
    assert not any("usage" in line or "cost_usd" in line for line in done.results)


def test_the_ceiling_of_a_run_leaves_out_what_earlier_runs_cost(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'"of this run {n}"\n' for n in range(60)))
    run = ("run", "in.jsonl", *mock(*PRICE), "-o", "out.jsonl")
    costs = [0.0]
    for _ in range(2):
        done = llmbatch(*run, "--max-run-cost", 0.3)
        assert done.code == 5 and "--max-run-cost $0.3" in done.stderr and "in this run" in done.stderr
        costs.append(sum(line["cost_usd"] for line in lines_of(tmp_path / "out.jsonl")))
        assert 0.27 < costs[-1] - costs[-2] <= 0.3
    both = llmbatch(*run, "--max-run-cost", 5, "--max-cost", 0.7)
    assert both.code == 5 and "--max-cost $0.7" in both.stderr
    needs = llmbatch("run", "in.jsonl", *mock(), "--max-run-cost", 5)
    assert needs.code == 2 and "--max-run-cost needs" in needs.stderr
