"""What a person does about batches by hand: say which one is theirs, and give one up."""

import asyncio
import json
from pathlib import Path

import pytest

from llmbatch.app.batch_list import check_batch, give_up
from llmbatch.batches.calls import BatchClient
from llmbatch.core.errand import Errand
from llmbatch.core.errors import UsageError
from llmbatch.core.exchange import Reply
from llmbatch.core.settings import BatchSettings
from llmbatch.core.ticket import Status, Step, Ticket
from llmbatch.dialects.batch_apis import batch_api
from llmbatch.pacing.batch_polling import LOCAL
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
        give_up(path, "unknown")
    assert give_up(path, tag).ticket.tag == tag
    assert not list((tmp_path / "out.jsonl.state" / "batches").glob(f"{tag}*"))
    run = BatchRun(path, provider, 4, hold=hold)
    if hold:
        assert not provider.sizes and not run.lines
    else:
        assert len(run.lines) == 4 and all(line["possibly_billed"] == 1 for line in run.lines.values())
