"""A run of parts is one run: one account, one exit code, and the same command continues it."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import llmbatch
from llmbatch.app import composition
from llmbatch.input.source import expand
from llmbatch.mock.settings import MockSettings
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.parts.folder import RunFolder
from llmbatch.parts.report import report
from llmbatch.parts.verify import verify
from tests.mock.loopback import running

LONG, FAILING = 7, "[[mock:status code=400 times=1]]"
Ask = Callable[..., llmbatch.Run]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "ledger.jsonl"


@pytest.fixture(scope="module")
def url(ledger: Path) -> Iterator[str]:
    with running(MockSettings(ledger=str(ledger))) as url:
        yield url


@pytest.fixture
def ask(url: str, ledger: Path, tmp_path: Path) -> Ask:
    """Run the records of a folder in parts of about ten."""
    ledger.write_bytes(b"")

    def ask(prompts: list[str] | None = None, **options: Any) -> llmbatch.Run:
        source = tmp_path / "in.jsonl"
        if prompts is not None:
            source.write_text("".join(json.dumps({"id": n, "prompt": text}) + "\n" for n, text in enumerate(prompts)))
        defaults = {"output": f"{tmp_path}/out/", "part_size": 10, "base_url": url, "model": "m", "concurrency": 4}
        return llmbatch.run(source, **defaults | options)

    return ask


def sent(ledger: Path) -> Counter[str]:
    return Counter(json.loads(line)["prompt"] for line in ledger.read_bytes().splitlines())


def test_parts_are_worked_on_where_a_loop_runs(ask: Ask) -> None:
    async def cell() -> llmbatch.Run:
        return ask(["a", "b"])

    assert [result["status"] for result in asyncio.run(cell())] == ["ok", "ok"]


def test_ctrl_c_is_raised_as_such_with_the_answers_so_far(ask: Ask) -> None:
    left = [signal.SIGINT]

    def interrupt(now: llmbatch.Progress) -> None:
        if now.finished == 2 and left:
            os.kill(os.getpid(), left.pop())

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            ask(["a", "b", "[[mock:hang]]"], on_progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [result["status"] for result in caught.value.run] == ["ok", "ok"]  # type: ignore[attr-defined]


def test_every_record_has_one_result_and_the_same_command_sends_nothing_more(
    ask: Ask, ledger: Path, tmp_path: Path
) -> None:
    prompts = [f"prompt {number}" for number in range(35)]
    first = ask(prompts)
    assert first.summary["ok"] == 35
    assert first.summary["parts"] == {"complete": 3, "unfinished": 0, "busy": 0}
    assert sorted(line["id"] for line in first) == list(range(35))
    again = ask()
    assert (again.summary["done_before"], again.summary["requests"], again.summary["exit_code"]) == (35, 0, 0)
    assert sent(ledger) == dict.fromkeys(prompts, 1)
    folder = RunFolder(tmp_path / "out")
    assert {json.loads(line)["index"] for line in folder.results(1).read_bytes().splitlines()} >= {0, 1}
    by_summaries, by_lines = (report([str(folder.path)], notice=print, check=check) for check in (False, True))
    assert by_summaries.total().tokens == by_lines.total().tokens
    assert by_summaries.total().ok == by_lines.total().ok == 35


def test_a_failure_is_sent_again_and_its_part_alone_is_opened(ask: Ask, ledger: Path, tmp_path: Path) -> None:
    prompts = [f"prompt {number}{FAILING if number == 25 else ''}" for number in range(30)]
    first = ask(prompts)
    assert (first.summary["ok"], first.summary["failed"], first.summary["exit_code"]) == (29, 1, 1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.json")}
    second = ask()
    assert (second.summary["done_before"], second.summary["ok"], second.summary["exit_code"]) == (29, 1, 0)
    assert sent(ledger) == Counter(prompts) + Counter({prompts[25]: 1})
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.json")}
    assert [path.name for path in before if before[path] != after[path]] == ["part-00002.json"]


def test_a_fault_of_all_records_ends_the_run_and_not_only_its_part(ask: Ask, ledger: Path) -> None:
    prompts = [f"prompt {number} [[mock:status code=401]]" for number in range(40)]
    with pytest.raises(llmbatch.ActionNeeded) as caught:
        ask(prompts)
    assert caught.value.run.summary["parts"] == {"complete": 0, "unfinished": 4, "busy": 0}
    assert len(sent(ledger)) < 20


def test_one_budget_holds_for_all_parts_and_all_runs(ask: Ask, ledger: Path) -> None:
    options: dict[str, Any] = {"max_tokens": 100, "price": (0.0, 10_000.0), "concurrency": 1}
    prompts = [f"prompt {number}" for number in range(40)]
    spent = []
    for ceiling in (8.0, 8.0, 15.0):
        with pytest.raises(llmbatch.CeilingReached) as caught:
            ask(prompts if not spent else None, max_cost=ceiling, **options)
        spent.append(sum(line.get("cost_usd", 0.0) for line in caught.value.run))
        assert spent[-1] <= ceiling
    assert spent[0] == spent[1] > 4 and spent[2] > 9
    assert max(sent(ledger).values()) == 1


def test_a_named_rate_is_one_over_all_parts(ask: Ask, ledger: Path) -> None:
    ask([f"prompt {number}" for number in range(24)], rpm=1800, part_size=4)
    times = sorted(json.loads(line)["t_start"] for line in ledger.read_bytes().splitlines())
    assert times[-1] - times[0] > 22 * 60 / 1800 - 0.3  # a bucket for each part would let a burst through in each


def test_a_part_begins_with_as_many_in_flight_as_the_one_before_found(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[float] = []

    def limit(*args: Any, start: float, **options: Any) -> ConcurrencyLimit:
        starts.append(start)
        return ConcurrencyLimit(*args, start=start, **options)

    monkeypatch.setattr(composition, "ConcurrencyLimit", limit)
    ask([f"prompt {number}" for number in range(20)], concurrency=None)
    assert starts[0] == 0 and starts[1] >= 1


def test_inputs_or_options_that_changed_are_told_and_nothing_is_sent(ask: Ask, ledger: Path) -> None:
    ask(["a", "b"])
    ledger.write_bytes(b"")
    with pytest.raises(llmbatch.UsageError, match=r'model: "m" before, "n" now'):
        ask(model="n")
    with pytest.raises(llmbatch.UsageError, match=r"in\.jsonl: .* bytes before"):
        ask(["a", "b", "c"])
    with pytest.raises(llmbatch.UsageError, match="--limit does not go with"):
        ask(limit=1)
    assert sent(ledger) == {}


def test_a_template_that_no_record_fits_is_refused_before_there_is_a_plan(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(llmbatch.UsageError, match="missing"):
        ask(["a"] * 3, template="{{ missing }}")
    assert not (tmp_path / "out").exists()


def test_verify_finds_what_is_missing_in_each_part(ask: Ask, tmp_path: Path) -> None:
    ask([f"prompt {number}" for number in range(35)])
    folder = RunFolder(tmp_path / "out")
    lines = folder.results(2).read_bytes().splitlines(keepends=True)
    folder.results(2).write_bytes(b"".join(lines[1:]) + lines[-1])
    gone = len(folder.results(1).read_bytes().splitlines())
    folder.results(1).unlink()
    inputs = expand([str(tmp_path / "in.jsonl")])
    for keep in (2, None):
        found: list[Any] = []
        options = {"input_format": None, "id_field": None, "max_line": 999, "delimiter": None, "repeat": None}
        account = verify(inputs, str(folder.path), **options, found=found.append, keep=keep)  # type: ignore[arg-type]
        assert (account.records, account.ok, account.lines) == (35, 34 - gone, 35 - gone)
        problems = Counter(str(one.problem) for one in found)
        assert problems == {"repeated": 1, "missing": 2 if keep else 1 + gone}
        assert {one.place["part"] for one in found} == {1, 2}
