"""The rows of a batch come here, at a provider that shows them late, or forgets what it was asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmbatch.batches.calls import Left
from llmbatch.core.errand import Errand
from llmbatch.core.errors import ActionNeeded, CeilingReached
from llmbatch.core.exchange import Reply
from llmbatch.core.ticket import Step
from llmbatch.dialects.batch_xai import XaiBatches
from tests.support.tickets import TAG, Play, answer, refused
from tests.support.virtual_time import EPOCH


def done(**fields: Any) -> Reply:
    return answer(200, {"id": "batch-1", "status": "completed", "request_counts": {"completed": 2}, **fields})


def test_rows_that_a_batch_with_answers_names_late_are_awaited(tmp_path: Path) -> None:
    polls = 0

    def reply(errand: Errand) -> Reply:
        nonlocal polls
        if errand.address == "/batches/batch-1":
            polls += 1
            return done() if polls < 4 else done(output_file_id="rows")
        return Reply(200, {}, b'{"custom_id":"x"}\n')

    play = Play(tmp_path, reply).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH)
    play.go()
    assert play.store.steps[-2:] == ["fetched", "settled"] and polls == 4


def test_a_file_of_rows_that_is_blank_at_first_is_fetched_again(tmp_path: Path) -> None:
    fetches = 0

    def reply(errand: Errand) -> Reply:
        nonlocal fetches
        if errand.address == "/batches/batch-1":
            return done(output_file_id="rows")
        fetches += 1
        return Reply(200, {}, b"\n" if fetches < 3 else b'{"custom_id":"x"}\n')

    play = Play(tmp_path, reply).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH)
    play.go()
    assert fetches == 3


@pytest.mark.parametrize("file", [None, "rows"])
def test_rows_that_never_come_end_the_run_and_the_batch_stays_to_be_fetched(tmp_path: Path, file: str | None) -> None:
    def reply(errand: Errand) -> Reply:
        return done(output_file_id=file) if errand.address == "/batches/batch-1" else refused(404)

    play = Play(tmp_path, reply).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH)
    with pytest.raises(CeilingReached, match="batch-1") as stopped:
        play.go()
    assert (
        stopped.value.by == "wait" and "until 20" in str(stopped.value.hint) and "--give-up" in str(stopped.value.hint)
    )
    assert "fetched" not in play.store.steps and play.run.ticket.is_open


def test_a_batch_without_an_answer_is_over_without_a_row(tmp_path: Path) -> None:
    nothing = done(status="cancelled", request_counts={"completed": 0})
    play = Play(tmp_path, lambda errand: nothing).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH)
    play.go()
    assert play.store.steps == ["ended", "fetched", "settled"]


@pytest.mark.parametrize("by", ["--live-after", "--cancel"])
def test_a_cancellation_is_asked_for_until_the_provider_speaks_of_it(tmp_path: Path, by: str) -> None:
    cancels = 0

    def reply(errand: Errand) -> Reply:
        nonlocal cancels
        if errand.address.endswith("/cancel"):
            cancels += 1
            return refused(500)
        if cancels < 3:
            return done(status="in_progress")
        return done(status="cancelled", request_counts={"completed": 0})

    play = Play(tmp_path, reply, live_after=30.0 if by == "--live-after" else 1e9)
    play.begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH, cancelling=by == "--cancel")
    play.go()
    assert cancels == 3 and play.store.steps[-1] == "settled"


def test_a_batch_that_is_not_found_is_left_and_the_way_out_is_named(tmp_path: Path) -> None:
    play = Play(tmp_path, lambda errand: refused(404)).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH)
    with pytest.raises(Left):
        play.go()
    assert "--give-up" in play.notices[0] and play.run.ticket.is_open


def page(*rows: str, token: str | None = None) -> Reply:
    return answer(200, {"results": [{"batch_request_id": row} for row in rows], "pagination_token": token})


def test_rows_in_pages_are_gathered_anew_by_each_fetch_until_each_request_has_one(tmp_path: Path) -> None:
    asked: list[str] = []

    def reply(errand: Errand) -> Reply:
        if errand.address == "/batches/batch-1":
            counts = {"num_requests": 2, "num_pending": 0, "num_success": 1, "num_cancelled": 1}
            return answer(200, {"batch_id": "batch-1", "state": counts})
        asked.append(errand.address.partition("pagination_token=")[2])
        if asked[-1] == "":
            return page("a", token="next")
        if len(asked) == 2:
            return refused(503)  # the page is asked for again, and not the first one
        return page() if len(asked) < 5 else page("b")

    play = Play(tmp_path, reply, XaiBatches()).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH)
    play.go()
    assert asked == ["", "next", "next", "", "next"]
    rows = play.store.files(play.run.ticket).row_lines()
    assert [json.loads(row)["batch_request_id"] for row in rows] == ["a", "b"]


def test_pages_that_lead_back_to_themselves_end(tmp_path: Path) -> None:
    def reply(errand: Errand) -> Reply:
        if errand.address == "/batches/batch-1":
            counts = {"num_requests": 2, "num_pending": 0, "num_success": 2}
            return answer(200, {"batch_id": "batch-1", "state": counts})
        return page("a", "b", token="again")

    play = Play(tmp_path, reply, XaiBatches()).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH)
    play.go()
    assert play.store.steps == ["ended", "fetched", "settled"]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("step", [Step.RUNNING, Step.ENDED])
def test_what_another_account_may_see_is_left_to_it_after_one_call(tmp_path: Path, step: Step, status: int) -> None:
    play = Play(tmp_path, lambda errand: refused(status))
    play.begin_at(step, account="another", batch="batch-1", created_at=EPOCH, outputs=("file-2",))
    with pytest.raises(ActionNeeded, match=f"batch-1.*{TAG}.*another key"):
        play.go()
    assert len(play.calls) == 1 and play.run.ticket.step is step


def test_a_new_key_of_the_same_account_collects_what_the_old_one_made(tmp_path: Path) -> None:
    play = Play(tmp_path, lambda errand: done(request_counts={"completed": 0}))
    play.begin_at(Step.RUNNING, account="another", batch="batch-1", created_at=EPOCH).go()
    assert play.store.steps == ["ended", "fetched", "settled"]
