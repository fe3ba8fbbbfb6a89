"""Runs with batches: whatever a provider says of them, each record ends once and is paid for once."""

import errno
import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbatch.batches.chunks import ChunkLimits
from llmbatch.core.errand import Errand, FilePart
from llmbatch.core.errors import CeilingReached, OutputError, UsageError
from llmbatch.core.exchange import Reply
from llmbatch.core.job import Job
from llmbatch.core.settings import BatchSettings
from llmbatch.core.ticket import Step
from llmbatch.pacing.cost import Budget
from llmbatch.results import disk
from llmbatch.results.opening import open_store
from llmbatch.results.ticket_log import TicketLog
from tests.support.batch_runs import BatchRun, Provider, content, die_at, expired, row
from tests.support.scripted import job
from tests.support.tickets import refused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def in_doubt(path: Path) -> int:
    """Count the records in doubt, as the next run finds them."""
    with open_store(path, fsync="never") as store:
        return store.found.in_doubt


UNREADABLE = [
    lambda line: row(line).replace(b'"yes"', b'"\\ud800"'),
    lambda line: row(line).replace(b'"yes"', b"NaN"),
    lambda line: row(line).replace(b'"yes"', b"[" * 3000 + b"]" * 3000),
    lambda line: row(line).replace(b'"yes"', b"[" * 400 + b"]" * 400),
    lambda line: row(line)[:-30],
    lambda line: row(line).replace(b"yes", b"\xff"),
    lambda line: b'{"custom_id": "%s"}' % line["custom_id"].encode() + b",",
]


@pytest.mark.parametrize("spoil", UNREADABLE)
@pytest.mark.parametrize("hold", [True, False])
def test_a_row_that_cannot_be_read_is_a_paid_answer_of_its_record(
    path: Path, spoil: Callable[[Any], bytes], hold: bool
) -> None:
    provider = Provider(lambda lines: [spoil(line) if content(line) == 1 else row(line) for line in lines])
    run = BatchRun(path, provider, hold=hold)
    assert not run.stops and set(run.lines) == {0, 1, 2, 3}
    bad = run.lines[1]
    assert (bad["error"]["kind"], bad["billed"]) == ("unparsable", True)
    assert "response" in bad or "response_base64" in bad, "what was paid for is kept"
    assert max(provider.billed.values()) == 1 and sum(line["status"] == "ok" for line in run.lines.values()) == 3


def test_a_row_that_names_no_record_is_kept_and_its_record_is_in_doubt(path: Path) -> None:
    provider = Provider(lambda lines: [b"{" if content(line) == 1 else row(line) for line in lines])
    run = BatchRun(path, provider, hold=True)
    assert run.batches.account.held == 1 and set(run.lines) == {0, 2, 3}
    assert list((path.parent / "out.jsonl.state" / "batches").glob("*.kept"))


def test_rows_that_name_no_record_are_kept_wherever_the_run_dies(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(lambda lines: [b"{" if content(line) == 1 else row(line) for line in lines])
    die_at(monkeypatch, Step.SETTLED, after=True)
    with pytest.raises(BaseExceptionGroup):
        BatchRun(path, provider, hold=True)
    monkeypatch.undo()
    for _ in range(2):
        with open_store(path, fsync="never"):
            (kept,) = (path.parent / "out.jsonl.state" / "batches").iterdir()
            assert kept.suffix == ".kept" and b"{\n" in kept.read_bytes()


def twins(*numbers: int) -> list[Job]:
    """Return jobs of which all but the last ask for the same."""
    jobs = [job(number) for number in numbers]
    for one in jobs:
        asked = one if one is jobs[-1] else jobs[0]
        one.key, one.item = f"{asked.identity.index:016x}" * 2, asked.item
    return jobs


def test_under_dedupe_a_row_that_was_paid_for_in_vain_serves_all_equal_records(path: Path) -> None:
    provider = Provider(lambda lines: [row(line)[:-30] if content(line) == 1 else row(line) for line in lines])
    run = BatchRun(path, provider, twins(1, 2, 3, 4), dedupe=True)
    assert not run.stops and run.lines[4]["status"] == "ok"
    bad = [run.lines[index] for index in (1, 2, 3)]
    assert all(line["error"]["kind"] == "unparsable" and line["billed"] for line in bad)
    copies = [line for line in bad if "deduplicated" in line]
    assert len(copies) == 2 and not any("latency_s" in line for line in copies), "they waited for nothing themselves"
    assert provider.billed == {1: 1, 4: 1}


def test_under_dedupe_the_records_that_wait_for_one_that_is_held_are_held_too(path: Path) -> None:
    provider = Provider(lambda lines: [b"{" if content(line) == 1 else row(line) for line in lines])
    run = BatchRun(path, provider, twins(1, 2, 3, 4), hold=True, dedupe=True)
    assert run.batches.account.held == 3 and set(run.lines) == {4} and run.batches.account.not_started == 0
    assert provider.billed == {1: 1, 4: 1}


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("strange", ["stranger", "twice"])
def test_rows_that_are_mixed_up_stop_the_run_after_every_good_row_is_recorded(
    path: Path, place: int, strange: str
) -> None:
    def rows(lines: list[Any]) -> Iterable[bytes]:
        found = [row(line) for line in lines[:3]]
        other = {"custom_id": "x"} if strange == "stranger" else lines[0]
        found.insert(place if strange == "stranger" else 3, row(other, choices=[]))
        return found

    run = BatchRun(path, Provider(rows))
    (stop,) = run.stops
    assert isinstance(stop, CeilingReached) and "--give-up" in str(stop.hint)
    assert set(run.lines) == {0, 1, 2} and run.batches.pending == 1
    again = BatchRun(path, run.provider)
    assert set(again.lines) == {0, 1, 2} and sum(again.provider.sizes) == 4, "nothing is bought again"
    assert len(list(path.parent.glob("out.jsonl.state/batches/*.kept"))) == 1, "the same rows are kept once"


@pytest.mark.parametrize(
    "answer", [b"<a href='https://in.example/?key=SECRET'>Log in</a>", b'{"data": [ {"x": [ {{{ {"cid": "1"', b"{}\n"]
)
def test_rows_that_a_server_could_not_give_at_first_are_fetched_by_the_next_run(path: Path, answer: bytes) -> None:
    pages = [answer]

    def refuse(errand: Errand) -> Reply | None:
        if not (errand.address.endswith("/content") and pages):
            return None
        assert errand.sink is not None
        Path(errand.sink).write_bytes(pages.pop())
        return Reply(200, {}, b"")

    provider = Provider(refuse=refuse)
    (stop,) = BatchRun(path, provider).stops
    (kept,) = path.parent.glob("out.jsonl.state/batches/*.kept")
    assert isinstance(stop, CeilingReached) and "same command" in str(stop.hint) and kept.read_bytes() == answer
    assert "SECRET" not in str(stop)
    again = BatchRun(path, provider)
    assert not again.stops and set(again.lines) == {0, 1, 2, 3} and len(provider.sizes) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("hold", [True, False])
def test_records_that_were_given_back_are_in_no_doubt_wherever_the_run_dies(
    path: Path, monkeypatch: pytest.MonkeyPatch, after: bool, hold: bool
) -> None:
    provider = Provider(
        lambda lines: [expired(line) if content(line) % 2 else row(line) for line in lines],
        billed=lambda line: content(line) % 2 == 0,
    )
    die_at(monkeypatch, Step.SETTLED, after=after)
    with pytest.raises(BaseExceptionGroup):
        BatchRun(path, provider, hold=hold)
    monkeypatch.undo()
    with open_store(path, fsync="never") as store:
        assert store.found.in_doubt == 0
    provider._rows = lambda lines: map(row, lines)
    run = BatchRun(path, provider, hold=hold)
    assert set(run.lines) == {0, 1, 2, 3} and not any("possibly_billed" in line for line in run.lines.values())


@pytest.mark.parametrize("words", ["1 batch of {} is", "2 batches of {} are"])
def test_what_is_with_a_provider_is_not_written_over(path: Path, words: str) -> None:
    assert BatchRun(path, Provider(lambda lines: [b"{"])).stops
    log = TicketLog(path.with_name(f"{path.name}.state"))
    log.open()
    for number in range(1, int(words[0])):
        log.draw(replace(next(iter(log.tickets.values())), tag=f"{number:016}"))
    log.close()
    with pytest.raises(UsageError, match=re.escape(words.format(path.resolve()))):
        open_store(path, fsync="never", overwrite=True).__enter__()


def test_records_that_the_input_lost_are_in_no_doubt_once_they_were_given_back(path: Path) -> None:
    provider = Provider(lambda lines: map(expired, lines), billed=lambda line: False)
    settings = BatchSettings(batch_api=True, no_first_live=True, no_wait=True)
    run = BatchRun(path, provider, settings=settings, alongside=lambda run: None)
    BatchRun(path, provider, [job(0)], settings=settings)
    assert run.provider.sizes and in_doubt(path) == 0


def test_what_a_batch_gave_back_waits_on_disk_and_not_in_memory(path: Path) -> None:
    provider = Provider(lambda lines: map(expired, lines) if len(provider.sizes) == 1 else map(row, lines))
    run = BatchRun(path, provider, 5000)
    assert len(run.lines) == 5000 and run.peak_waiting < 1500
    assert provider.sizes == [5000, 5000]


@pytest.mark.parametrize("leftovers", ["live", "batch"])
def test_two_batches_give_back_at_the_same_time(path: Path, leftovers: str) -> None:
    provider = Provider(lambda lines: map(expired, lines) if len(provider.sizes) <= 2 else map(row, lines))
    settings = BatchSettings(batch_api=True, no_first_live=True, leftovers=leftovers)
    run = BatchRun(path, provider, 3000, settings=settings, limits=ChunkLimits(1500, 1 << 27, 1 << 24))
    assert len(run.lines) == 3000 and not run.stops


@pytest.mark.parametrize("leftovers", ["live", "batch"])
def test_what_a_batch_gave_back_is_asked_for_where_the_user_wants_it(path: Path, leftovers: str) -> None:
    provider = Provider(lambda lines: map(expired, lines) if len(provider.sizes) == 1 else map(row, lines))
    settings = BatchSettings(batch_api=True, no_first_live=True, leftovers=leftovers)
    run = BatchRun(path, provider, 3000, settings=settings)
    assert len(run.lines) == 3000 and not run.stops
    assert len(run.world.sent) == (3000 if leftovers == "live" else 0)


def test_a_record_that_is_larger_than_the_queue_of_its_model_fails_and_the_others_go_on(path: Path) -> None:
    jobs = [job(n) for n in range(4)]
    jobs[2].tokens = 5000

    def fail(lines: list[Any]) -> dict[str, Any] | None:
        full = any(content(line) == 2 for line in lines)
        return {"code": "token_limit_exceeded", "message": "Limit: 1,000 enqueued tokens"} if full else None

    run = BatchRun(path, Provider(fail=fail), jobs)
    assert not run.stops and {n for n, line in run.lines.items() if line["status"] == "failed"} == {2}
    assert run.lines[2]["error"]["kind"] == "too_large"


def test_a_record_that_is_too_large_for_a_server_alone_fails_as_it_would_live(path: Path) -> None:
    def refuse(errand: Errand) -> Reply | None:
        body = errand.body
        large = isinstance(body, FilePart) and Path(body.path).stat().st_size > 150_000
        return Reply(413, {}, b"<html><title>Too large</title></html>") if large else None

    jobs = [job(n) for n in range(4)]
    jobs[2].item = {**jobs[2].item, "user": "x" * 200_000}
    run = BatchRun(path, Provider(refuse=refuse), jobs)
    failed = {n: line["error"] for n, line in run.lines.items() if line["status"] == "failed"}
    assert not run.stops and list(failed) == [2]
    assert (failed[2]["kind"], failed[2]["status"]) == ("too_large", 413)


@pytest.mark.parametrize("words", ["Failed to parse the request (line {})", "requests.{}.params: Field required"])
@pytest.mark.parametrize("call", ["/files", "/batches"])
def test_a_line_for_which_a_file_is_refused_costs_its_record_only(path: Path, call: str, words: str) -> None:
    def refuse(errand: Errand) -> Reply | None:
        if (errand.method, errand.address) != ("POST", call):
            return None
        file = (
            Path(errand.body.path).read_bytes() if isinstance(errand.body, FilePart) else [*provider.files.values()][-1]
        )
        lines = [json.loads(line) for line in file.splitlines()]
        bad = next((n for n, line in enumerate(lines) if content(line) in (1, 2)), None)
        return None if bad is None else refused(400, words.format(bad + ("line" in words)))

    provider = Provider(refuse=refuse)
    run = BatchRun(path, provider)
    assert not run.stops and {n: line["status"] for n, line in run.lines.items()} == {
        0: "ok",
        1: "failed",
        2: "failed",
        3: "ok",
    }
    assert run.lines[1]["error"]["kind"] == "bad_request" and provider.billed == {0: 1, 3: 1}


def test_a_queue_that_says_no_limit_gets_half_as_much_and_then_more_again(path: Path) -> None:
    def fail(lines: list[Any]) -> dict[str, Any] | None:
        full = len(lines) > 30 and len(provider.sizes) < 12
        return {"code": "token_limit_exceeded", "message": "the queue is full"} if full else None

    provider = Provider(fail=fail)
    run = BatchRun(path, provider, 900, limits=ChunkLimits(100, 1 << 27, 1 << 24))
    assert not run.stops and len(run.lines) == 900
    assert min(provider.sizes) <= 30 < max(provider.sizes[12:]) and len(provider.sizes) < 45


def test_a_bad_line_that_nobody_names_is_found_by_halves(path: Path) -> None:
    def fail(lines: list[Any]) -> dict[str, Any] | None:
        return {"code": "x", "message": "no"} if any(content(line) == 37 for line in lines) else None

    provider = Provider(fail=fail)
    run = BatchRun(path, provider, 64)
    assert not run.stops and len(run.lines) == 64 and len(provider.sizes) < 30
    assert [n for n, line in run.lines.items() if line["status"] == "failed"] == [37]


@pytest.mark.parametrize("message", ["Too many requests", "Limit: 60 enqueued tokens"])
def test_a_create_that_is_refused_for_want_of_room_teaches_what_fits(path: Path, message: str) -> None:
    def refuse(errand: Any) -> Any:
        if errand.method != "POST" or errand.address != "/batches":
            return None
        file = json.loads(errand.body)["input_file_id"]
        return refused(429, message) if provider.files[file].count(b"\n") > 60 else None

    provider = Provider(refuse=refuse)
    run = BatchRun(path, provider, 100)
    assert not run.stops and len(run.lines) == 100 and max(provider.sizes) <= 60


def full_disk(monkeypatch: pytest.MonkeyPatch, at: int, name: str) -> None:
    """Make the disk full from the n-th operation of a kind on."""
    done, real = 0, getattr(disk, name)

    def refuse(*args: Any, **named: Any) -> Any:
        nonlocal done
        if "batches" not in str(args[0]) and not isinstance(args[0], int):
            return real(*args, **named)
        done += 1
        if done >= at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **named)

    monkeypatch.setattr(disk, name, refuse)


@pytest.mark.parametrize("name", ["create", "append", "sync", "sync_folder"])
@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
def test_a_disk_that_is_full_while_batches_are_cut_ends_the_run_in_order(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int
) -> None:
    provider = Provider()
    full_disk(monkeypatch, at, name)
    with suppress(OutputError):
        run = BatchRun(path, provider, 400, limits=ChunkLimits(100, 1 << 27, 1 << 24))
        assert all(isinstance(stop, OutputError) for stop in run.stops)
    monkeypatch.undo()
    run = BatchRun(path, provider, 400)
    assert len(run.lines) == 400


def test_a_ceiling_on_cost_counts_what_batches_may_cost_and_ends_the_run_with_what_fits(path: Path) -> None:
    budget = Budget(ceiling=2.5)
    run = BatchRun(path, Provider(), 10, budget=budget, worst=1.0, limits=ChunkLimits(1, 1 << 20, 1 << 20))
    (stop,) = run.stops
    assert isinstance(stop, CeilingReached) and "--max-cost" in stop.message
    assert (
        run.provider.sizes and sum(run.provider.sizes) <= 2 and run.batches.account.not_started == 10 - len(run.lines)
    )


def test_a_batch_that_gives_back_more_than_the_budget_allows_ends_the_run(path: Path) -> None:
    provider = Provider(lambda lines: map(expired, lines) if len(provider.sizes) == 1 else map(row, lines))
    run = BatchRun(path, provider, 2000, budget=Budget(ceiling=2000.5), worst=1.0)
    assert len(run.lines) == 2000 and not run.stops, "what was given back has cost nothing"
