"""Provider-side batches, end to end: created once, collected whole, found again whatever was cut off."""

import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .command import Command, Mock, lines_of, until

StartMock = Callable[..., Mock]

DIALECTS = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "xai": "/xai/v1"}


def prompts(count: int, words: str = "") -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "prompt": f"question {n} {words}"} for n in range(count)]


class Job:
    """One results file with its input, sent to one mock."""

    def __init__(self, llmbatch: Command, mock: Mock, folder: Path, records: list[dict[str, Any]]) -> None:
        self.llmbatch, self.mock, self.folder = llmbatch, mock, folder
        self.source, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self.source.write_text("".join(json.dumps(record) + "\n" for record in records))
        self.ids = {record["id"] for record in records}

    def flags(self, *more: object, provider: str | None = None) -> list[Any]:
        url = self.mock.base_url.removesuffix("/v1") + DIALECTS[provider or "openai"]
        server = ["--base-url", url, "-m", "mock-1", *(["-p", provider] if provider else [])]
        return ["run", self.source, *server, "-o", self.output, *more]

    def run(self, *more: object, provider: str | None = None) -> Any:
        return self.llmbatch(*self.flags("--batch-api", *more, provider=provider), timeout=60.0)

    @property
    def lines(self) -> dict[str, dict[str, Any]]:
        found = lines_of(self.output)
        assert len({line["id"] for line in found}) == len(found), "a record has two lines"
        return {line["id"]: line for line in found}

    @property
    def tickets(self) -> list[dict[str, Any]]:
        path = self.folder / "out.jsonl.state" / "tickets.jsonl"
        return lines_of(path.read_bytes().rpartition(b"\n")[0]) if path.exists() else []

    @property
    def creates(self) -> list[dict[str, Any]]:
        return [entry for entry in self.mock.ledger() if "count" in entry]

    def billed(self) -> Counter[str]:
        """How often each prompt was billed, live or in a batch."""
        return Counter(entry["prompt"] for entry in self.mock.ledger("question") if entry["billed"])

    def assert_whole(self, *, twice: int = 0) -> None:
        lines = self.lines
        assert lines.keys() == self.ids
        assert all(line["status"] == "ok" for line in lines.values())
        assert sum(count - 1 for count in self.billed().values()) <= twice


@pytest.fixture
def job(llmbatch: Command, start_mock: StartMock, tmp_path: Path) -> Callable[..., Job]:
    def make(*flags: object, count: int = 12, words: str = "") -> Job:
        mock = start_mock("--batch-delay", 0.5, *flags)
        return Job(llmbatch, mock, tmp_path, prompts(count, words))

    return make


@pytest.mark.parametrize("provider", DIALECTS)
def test_a_whole_run_has_one_batch_beside_the_first_record_and_every_answer(
    job: Callable[..., Job], provider: str
) -> None:
    work = job()
    done = work.run("--summary", "table", provider=provider)
    assert done.code == 0, done.stderr
    assert "11 collected" in done.stderr
    work.assert_whole()
    (create,) = work.creates
    assert create["count"] == 11
    batches = {line.get("batch") for line in work.lines.values()}
    assert len(batches) == 2 and None in batches
    again = work.run(provider=provider)
    assert again.code == 0 and len(work.creates) == 1


def test_a_first_record_that_is_held_in_doubt_does_not_hold_up_the_others(job: Callable[..., Job]) -> None:
    work = job()
    first, *others = prompts(12)
    work.source.write_text(
        "".join(
            json.dumps(record) + "\n" for record in [first | {"prompt": "[[mock:status code=502]] question"}, *others]
        )
    )
    done = work.run("--in-doubt", "hold")
    assert done.code == 7, done.stderr
    assert work.lines.keys() == work.ids - {"r0"} and len(work.creates) == 1


def test_records_that_could_not_go_into_a_batch_yet_are_no_success(job: Callable[..., Job]) -> None:
    work = job("--batch-queue", 60)
    done = work.run("--no-wait", "--batch-records", 4)
    assert done.code == 8, done.stderr


def test_batch_and_live_answers_have_the_same_keys(job: Callable[..., Job]) -> None:
    work = job()
    assert work.run().code == 0
    keys = {id: line["key"] for id, line in work.lines.items()}
    work.output.unlink()
    assert work.llmbatch(*work.flags("--overwrite")).code == 0
    assert {id: line["key"] for id, line in work.lines.items()} == keys


def test_a_run_without_waiting_leaves_with_8_until_the_batch_has_ended(job: Callable[..., Job]) -> None:
    work = job("--batch-delay", 3)
    first = work.run("--no-wait")
    assert first.code == 8 and "with the provider" in first.stderr
    assert work.run("--no-wait").code == 8
    summary = work.folder / "summary.json"
    assert work.run("--no-wait", "--summary-file", summary).code == 8
    account = json.loads(summary.read_text())
    assert (account["records"], account["pending"], account["done_before"]) == (12, 11, 1)
    verified = work.llmbatch("verify", work.source, "-o", work.output, "--format", "json")
    assert json.loads(verified.stdout)["pending"] == 11
    assert until(lambda: work.run("--no-wait").code == 0)
    work.assert_whole()
    assert len(work.creates) == 1


def test_a_run_in_any_mode_collects_and_sends_nothing_twice(job: Callable[..., Job]) -> None:
    work = job("--batch-delay", 1)
    assert work.run("--no-wait").code == 8
    done = work.llmbatch(*work.flags())
    assert done.code == 0, done.stderr
    work.assert_whole()


@pytest.mark.parametrize("step", ["uploaded", "asked", "running", "ended", "fetched"])
def test_a_killed_run_goes_on_from_its_last_step(job: Callable[..., Job], step: str) -> None:
    work = job("--batch-delay", 1)
    running = work.llmbatch.start(*work.flags("--batch-api"))
    until(lambda: any(entry["step"] == step for entry in work.tickets))
    running.signal(signal.SIGKILL)
    running.wait()
    done = work.run()
    assert done.code == 0, done.stderr
    work.assert_whole()
    assert len(work.creates) == 1 or step == "uploaded"


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("policy", ["hold", "retry"])
def test_a_batch_whose_creation_was_cut_off_is_found(job: Callable[..., Job], provider: str, policy: str) -> None:
    work = job("--batch-lost-create", 1, "--batch-lag", 1)
    done = work.run("--in-doubt", policy, provider=provider)
    assert done.code == 0, done.stderr
    work.assert_whole()
    assert len(work.creates) == 1


def test_expired_rows_go_into_the_next_batch(job: Callable[..., Job]) -> None:
    work = job("--batch-expire", 0.4, count=20)
    # Three batches of a few records that all expire end a run.
    assert until(lambda: work.run().code == 0)
    work.assert_whole()
    assert len(work.creates) > 1


def test_expired_rows_go_live_where_that_is_asked_for(job: Callable[..., Job]) -> None:
    work = job("--batch-expire", 0.5, count=20)
    assert work.run("--leftovers", "live").code == 0
    work.assert_whole()
    assert len(work.creates) == 1


def test_missing_rows_are_in_doubt_held_or_sent_again_and_counted(job: Callable[..., Job]) -> None:
    work = job("--batch-missing", 0.4, count=20)
    held = work.run("--in-doubt", "hold")
    assert held.code == 7, held.stderr
    missing = work.ids - work.lines.keys()
    assert missing
    assert all(count == 1 for count in work.billed().values())
    # A batch whose rows are all missing, which happens to one of a record or two, is kept until it is given up.
    while (done := work.run("--in-doubt", "retry")).code == 5:
        given_up = re.search(r"--give-up (\w+)", done.stderr)
        assert given_up and work.llmbatch("batches", work.output, "--give-up", given_up[1]).code == 0, done.stderr
    assert done.code in (0, 1), done.stderr
    counted = sum(line.get("possibly_billed", 0) for line in work.lines.values())
    assert sum(count - 1 for count in work.billed().values()) <= counted


def test_batches_are_cut_by_records_and_a_bad_line_costs_only_its_record(job: Callable[..., Job]) -> None:
    work = job(count=20)
    source = lines_of(work.source)
    source[7]["prompt"] = "question 7 [[mock:batch invalid]]"
    work.source.write_text("".join(json.dumps(record) + "\n" for record in source))
    done = work.run("--batch-records", 5)
    assert done.code == 1, done.stderr
    lines = work.lines
    assert lines.keys() == work.ids
    assert [id for id, line in lines.items() if line["status"] == "failed"] == ["r7"]
    assert max(create["count"] for create in work.creates) == 5


def test_an_interrupted_run_leaves_its_batch_running_and_says_how_to_collect_or_cancel_it(
    job: Callable[..., Job],
) -> None:
    work = job("--batch-delay", 20)
    running = work.llmbatch.start(*work.flags("--batch-api"))
    until(lambda: any(entry["step"] == "running" for entry in work.tickets))
    running.signal(signal.SIGINT)
    ended = running.end()
    assert ended.code == 130
    assert "11 records are with the provider" in ended.stderr and "--cancel" in ended.stderr
    refused = work.llmbatch(*work.flags("--overwrite"))
    assert refused.code == 2 and "not collected" in refused.stderr
    (listed,) = work.llmbatch("batches", work.output, "--format", "json").results
    assert (listed["records"], listed["step"]) == (11, "running")
    (cancelled,) = work.llmbatch("batches", work.output, "--cancel", "--format", "json").results
    assert cancelled["cancelling"]
    done = work.run("--leftovers", "live")
    assert done.code == 0, done.stderr
    work.assert_whole()


def test_a_key_goes_only_where_the_batch_was_made_with_it(job: Callable[..., Job], start_mock: StartMock) -> None:
    work = job("--batch-delay", 30)
    asked = work.flags("--batch-api", "--no-wait")
    assert work.llmbatch(*asked, env={"LLMBATCH_API_KEY": "one"}).code == 8
    for act in ("--check", "--cancel"):
        other = work.llmbatch("batches", work.output, act, "--key-env", "OTHER", env={"OTHER": "two"})
        assert other.code == 4 and "which was not sent to" in other.stderr, other.stderr
    assert not any(ticket.get("cancelling") for ticket in work.tickets)
    same = work.llmbatch("batches", work.output, "--check", "--key-env", "SAME", env={"SAME": "one"})
    assert same.code == 0, same.stderr
    elsewhere = start_mock().base_url
    flags = [elsewhere if str(flag).startswith("http") else flag for flag in asked]
    moved = work.llmbatch(*flags, env={"LLMBATCH_API_KEY": "two"})
    assert moved.code == 8 and "left for later: it was made with another key" in moved.stderr, moved.stderr


def test_a_ceiling_on_cost_holds_for_batches(job: Callable[..., Job]) -> None:
    work = job()
    price = ["--price", "100,100", "--max-tokens", 100, "--batch-records", 1, "--no-first-live"]
    stopped = work.run(*price, "--max-cost", 0.05)
    assert stopped.code == 5 and "--max-cost" in stopped.stderr
    lines = work.lines.values()
    assert 0 < len(lines) < 12 and sum(line["cost_usd"] for line in lines) <= 0.05
    done = work.run(*price)
    assert done.code == 0, done.stderr
    work.assert_whole()


def test_a_deadline_that_ends_only_a_wait_is_8(job: Callable[..., Job]) -> None:
    work = job("--batch-delay", 30)
    assert work.run("--deadline", "2s").code == 8


def test_what_outlives_its_time_is_cancelled_and_the_rest_goes_live(job: Callable[..., Job]) -> None:
    work = job("--batch-delay", 10)
    done = work.run("--live-after", "1s")
    assert done.code == 0, done.stderr
    work.assert_whole()
    assert len(work.creates) == 1


def test_a_damaged_log_is_refused_and_with_move_broken_it_is_moved(job: Callable[..., Job]) -> None:
    work = job("--batch-delay", 1)
    assert work.run("--no-wait").code == 8
    log = work.folder / "out.jsonl.state" / "tickets.jsonl"
    content = bytearray(log.read_bytes())
    content[content.index(b'"asked"') + 1] ^= 1
    log.write_bytes(content)
    refused = work.run()
    assert refused.code == 2 and "damaged" in refused.stderr
    done = work.run("--move-broken")
    assert done.code == 0, done.stderr
    (moved,) = log.parent.glob("broken-tickets-*.jsonl")
    assert moved.name in done.stderr and moved.read_bytes() == bytes(content)
    work.assert_whole()
    assert len(work.creates) == 1


@pytest.mark.parametrize("repeat", [1, 2])
def test_equal_requests_are_asked_once_and_across_runs_too(job: Callable[..., Job], repeat: int) -> None:
    work = job("--batch-delay", 1, count=12)
    source = lines_of(work.source)
    for number, record in enumerate(source):
        record["prompt"] = f"question {number % 4}"
    work.source.write_text("".join(json.dumps(record) + "\n" for record in source))
    assert work.run("--dedupe", "--repeat", repeat, "--no-wait").code == 8
    done = work.run("--dedupe", "--repeat", repeat)
    assert done.code == 0, done.stderr
    assert Counter(line["status"] for line in lines_of(work.output)) == {"ok": 12 * repeat}
    assert set(work.billed().values()) == {repeat}, "samples share no answer"


def test_without_its_results_file_batches_are_collected_into_an_empty_one_as_the_message_says(
    job: Callable[..., Job],
) -> None:
    work = job()
    assert work.run("--no-wait").code == 8
    work.output.unlink()
    refused = work.run()
    assert refused.code == 2 and f"touch {work.output}" in " ".join(refused.stderr.split())
    work.output.touch()
    assert work.run().code == 0
    assert work.lines.keys() == work.ids and len(work.creates) == 1


def test_the_embedded_mock_remembers_its_batches(llmbatch: Command, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in prompts(5)))
    order = ["run", source, "-p", "mock", "-o", output, "--batch-api"]
    assert llmbatch(*order, "--no-wait").code == 8
    done = llmbatch(*order, "--live-after", "0.1", timeout=40.0)  # it knows the batch, or could not cancel it
    assert done.code == 0, done.stderr
    assert len(lines_of(output)) == 5


@pytest.mark.parametrize("flag", [["--no-wait"], ["--batch-records", 5], ["--leftovers", "live"]])
def test_a_flag_of_batches_without_them_sends_nothing_at_the_live_price(
    job: Callable[..., Job], flag: list[Any]
) -> None:
    work = job(count=2)
    refused = work.llmbatch(*work.flags(*flag))
    assert refused.code == 2 and f"{flag[0]} is for batches" in refused.stderr and "--batch-api" in refused.stderr
    assert not work.output.exists() and not work.mock.ledger("question")


def test_a_setting_for_batches_lets_live_runs_be(job: Callable[..., Job]) -> None:
    work = job(count=2)
    assert work.llmbatch(*work.flags(), env={"LLMBATCH_NO_WAIT": "1", "LLMBATCH_BATCH_RECORDS": "5"}).code == 0


def test_a_live_run_of_a_file_with_batches_need_not_wait_for_them(job: Callable[..., Job]) -> None:
    work = job("--batch-delay", 600)
    assert work.run("--no-wait").code == 8
    assert work.llmbatch(*work.flags("--no-wait"), timeout=60.0).code == 8
    assert len(work.creates) == 1
