"""What a person does about batches by hand: say which one is theirs, and give one up."""

import asyncio
import json
from pathlib import Path

import pytest

from llmbatch.app.batch_list import adopt, check_batch, give_up
from llmbatch.batches.calls import BatchClient
from llmbatch.core.errand import Errand
from llmbatch.core.errors import UsageError
from llmbatch.core.exchange import Reply
from llmbatch.core.settings import BatchSettings
from llmbatch.core.ticket import Status, Step, Ticket
from llmbatch.dialects.batch_apis import batch_api
from llmbatch.pacing.batch_polling import LOCAL
from llmbatch.results.opening import open_store
from llmbatch.results.ticket_log import TicketLog
from tests.support.batch_runs import BatchRun, Provider
from tests.support.tickets import TAG, answer, refused

MINE = json.dumps({"custom_id": f"{TAG}-1", "response": {"status_code": 200, "body": {}}}).encode()


def checked(rows: bytes | None, **batch: object) -> Status:
    """Check a batch of two records that the provider describes so, with these rows."""

    async def call(errand: Errand) -> Reply:
        if errand.address == "/batches/b":
            return answer(200, {"id": "b", **batch}) if batch else refused(404)
        return refused(404) if rows is None else Reply(200, {}, rows)

    api = batch_api("openai")
    assert api is not None
    client = BatchClient("openai", api, call, "https://x", "a", LOCAL)
    return asyncio.run(check_batch(Ticket(tag=TAG, step=Step.ASKED, count=2, batch="b"), client))


ENDED = {"status": "completed", "output_file_id": "o"}


@pytest.mark.parametrize(
    ("rows", "batch"),
    [
        (MINE + b"\n" + MINE, ENDED),
        (MINE, ENDED | {"request_counts": {"total": 2}}),
        (MINE[:-9], ENDED),
        (b"", ENDED),
        (None, ENDED),
        (None, {"status": "in_progress"}),
    ],
)
def test_a_batch_that_may_be_ours_is_adopted(rows: bytes | None, batch: dict[str, object]) -> None:
    assert checked(rows, **batch).word == batch["status"]


@pytest.mark.parametrize(
    ("rows", "batch", "words"),
    [
        (MINE.replace(TAG.encode(), b"x"), ENDED, "another one"),
        (MINE.replace(b"-1", b"-7"), ENDED, "another one"),
        (MINE, ENDED | {"request_counts": {"total": 3}}, "3 requests"),
        (MINE, {}, "not there"),
    ],
)
def test_a_batch_of_somebody_else_is_not_adopted(rows: bytes, batch: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        checked(rows, **batch)


@pytest.mark.parametrize("hold", [True, False])
def test_the_records_of_a_batch_that_is_given_up_are_in_doubt(tmp_path: Path, hold: bool) -> None:
    path, provider = tmp_path / "out.jsonl", Provider()
    cron = BatchSettings(batch_api=True, no_first_live=True, no_wait=True)
    first = BatchRun(
        path, Provider(refuse=lambda errand: refused(404) if errand.method == "GET" else None), 4, settings=cron
    )
    (tag,) = first.store.tickets.log.tickets
    assert first.batches.pending == 4
    with pytest.raises(UsageError, match="no batch"):
        give_up(path, "unknown", print)
    assert give_up(path, tag, print).ticket.tag == tag
    assert not list((tmp_path / "out.jsonl.state" / "batches").glob(f"{tag}*"))
    run = BatchRun(path, provider, 4, hold=hold)
    if hold:
        assert not provider.sizes and not run.lines
    else:
        assert len(run.lines) == 4 and all(line["possibly_billed"] == 1 for line in run.lines.values())


def with_tickets(path: Path, *tickets: Ticket) -> Path:
    """Make a results file without a line, with tickets of no record; return its state folder."""
    with open_store(path, fsync="never") as store:
        store.begin_tickets()
    folder = path.with_name(f"{path.name}.state")
    (folder / "batches").mkdir()
    log = TicketLog(folder)
    log.open()
    for ticket in tickets:
        (folder / "batches" / f"{ticket.tag}.members").touch()
        log.draw(ticket)
    log.close()
    return folder


def test_a_batch_that_is_another_tickets_is_not_adopted(tmp_path: Path) -> None:
    mine, other = "m" * 16, "o" * 16
    with_tickets(
        tmp_path / "out.jsonl", Ticket(tag=mine, step=Step.ASKED), Ticket(tag=other, step=Step.RUNNING, batch="b")
    )
    with pytest.raises(UsageError, match=other):
        adopt(tmp_path / "out.jsonl", mine, "b", print, environment={})


def test_what_is_done_by_hand_leaves_a_file_alone_of_which_it_is_not_known_what_is_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    folder = with_tickets(path, Ticket(tag=TAG, step=Step.RUNNING, batch="b"))
    (folder / "intents").write_bytes(b"damaged")
    before = {file: file.read_bytes() for file in folder.glob("[!l]*") if file.is_file()}
    with pytest.raises(UsageError, match="is not known"):
        give_up(path, TAG, print)
    assert before == {file: file.read_bytes() for file in folder.glob("[!l]*") if file.is_file()}
    with pytest.raises(UsageError, match="is not known"), open_store(path, fsync="never", hold=True):
        """The next run under hold must see the damage too."""


def test_what_is_mended_when_a_file_is_opened_is_told(tmp_path: Path) -> None:
    path, told = tmp_path / "out.jsonl", list[str]()
    with_tickets(path, Ticket(tag=TAG, step=Step.RUNNING, batch="b"))
    path.write_bytes(b'{"id":"torn","index":0,')
    give_up(path, TAG, told.append)
    assert any("a crash cut" in text for text in told)
