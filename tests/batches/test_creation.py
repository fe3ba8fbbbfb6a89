"""A batch is created once, at a provider that refuses, forgets and answers late."""

import json
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.batches.calls import Left
from llmbatch.core.errand import Errand
from llmbatch.core.errors import ActionNeeded, CeilingReached
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.core.ticket import Step
from llmbatch.dialects.batch_anthropic import AnthropicBatches
from llmbatch.dialects.batch_openai import OpenAIBatches, Quirks
from llmbatch.pacing.batch_polling import REMOTE
from tests.support.tickets import LOST, TAG, Answer, Play, answer, refused
from tests.support.virtual_time import EPOCH, LoopClock

FILE = {"id": "file-1", "status": "processed"}
BATCH = {"id": "batch-1", "status": "completed", "request_counts": {"completed": 0}}
NO_BATCHES = answer(200, {"data": [], "has_more": False})
UNSURE = [LOST, answer(500), refused(500), answer(502), Reply(503, {}, b"<html>"), answer(200, []), answer(529)]


def openai(create: Reply | Fault | list[Reply | Fault], listed: Reply = NO_BATCHES) -> Answer:
    """Return a provider of OpenAI's shape; a list of answers to creates is used up, the last one stays."""
    creates = list(create) if isinstance(create, list) else [create]

    def reply(errand: Errand) -> Reply | Fault:
        match errand.method, errand.address.partition("?")[0]:
            case "POST", "/files":
                return answer(200, FILE)
            case "POST", "/batches":
                return creates.pop(0) if len(creates) > 1 else creates[0]
            case "GET", "/batches":
                return listed
            case "GET", "/batches/batch-1":
                return answer(200, BATCH)
        raise AssertionError(errand)

    return reply


@pytest.mark.parametrize("lost", UNSURE)
def test_where_a_list_tells_a_batch_is_asked_for_three_times_whatever_is_answered(
    tmp_path: Path, lost: Reply | Fault
) -> None:
    play = Play(tmp_path, openai(lost))
    with pytest.raises(CeilingReached, match="3 times") as stopped:
        play.go()
    assert play.count("POST", "/batches") == 3 and stopped.value.hint
    assert play.run.ticket.step is Step.UPLOADED and play.store.marks[-1] is False, "no batch, so nothing is in doubt"


@pytest.mark.parametrize("lost", UNSURE)
def test_where_only_rows_tell_a_batch_is_asked_for_once_more_and_never_again(
    tmp_path: Path, lost: Reply | Fault
) -> None:
    def reply(errand: Errand) -> Reply | Fault:
        return lost if errand.method == "POST" else NO_BATCHES

    play = Play(tmp_path, reply, AnthropicBatches())
    with pytest.raises(CeilingReached, match="nobody can tell") as stopped:
        play.go()
    assert play.count("POST", "/messages/batches") == 2
    assert "--adopt" in str(stopped.value.hint) and "--give-up" in str(stopped.value.hint)
    ticket = play.run.ticket
    assert (ticket.step, ticket.unsure, play.store.marks[-1]) == (Step.ASKED, 1, True)
    later = Play(tmp_path, reply, AnthropicBatches())
    later.run.ticket = ticket
    with pytest.raises(CeilingReached):
        later.go()
    assert not later.count("POST", "/messages/batches"), "a later run pays for no third one"


def test_under_hold_what_cannot_be_told_is_asked_for_once(tmp_path: Path) -> None:
    play = Play(tmp_path, lambda errand: LOST if errand.method == "POST" else NO_BATCHES, AnthropicBatches(), hold=True)
    with pytest.raises(Left):
        play.go()
    assert play.count("POST", "/messages/batches") == 1 and play.run.undecided


@pytest.mark.parametrize("status", [503, 529, 498, 429])
def test_a_provider_that_says_itself_that_it_is_overloaded_made_no_batch(tmp_path: Path, status: int) -> None:
    play = Play(tmp_path, openai([refused(status), refused(status), answer(200, BATCH)]))
    play.go()
    assert play.store.steps[1:7] == ["asked", "uploaded"] * 2 + ["asked", "running"], "no look-up in between"


@pytest.mark.parametrize("message", ["Rate limit reached", "Limit: 90,000 enqueued tokens"])
def test_a_provider_that_refuses_a_batch_again_and_again_gets_a_smaller_one(tmp_path: Path, message: str) -> None:
    play = Play(tmp_path, openai(refused(429, message)))
    play.go()
    assert play.run.ticket.step is Step.VOID and play.run.not_run is not None and play.run.not_run.full
    assert message in play.run.not_run.status.errors[0].message
    assert play.count("POST", "/batches") <= 6


def test_a_refusal_that_names_a_file_ends_the_run_after_one_more_upload(tmp_path: Path) -> None:
    play = Play(tmp_path, openai(refused(400, "the file has a line that is too long")))
    with pytest.raises(ActionNeeded, match="too long"):
        play.go()
    assert play.count("POST", "/files") == 2 and play.count("POST", "/batches") < 25


def test_an_upload_is_looked_at_with_pauses_until_it_may_be_used(tmp_path: Path) -> None:
    states = iter([answer(200, {"status": "pending"}), answer(500), answer(200, FILE)])

    def reply(errand: Errand) -> Reply:
        match errand.method, errand.address:
            case "POST", "/files":
                return answer(200, {"id": "file-1", "status": "pending"})
            case "GET", "/files/file-1":
                return next(states)
        return refused(401, "stop here")

    play = Play(tmp_path, reply, OpenAIBatches(Quirks(processed=True)))
    with pytest.raises(ActionNeeded):
        play.go()
    looks = [errand for errand in play.calls if errand.method == "GET"]
    assert len(looks) == 3 and all(look.delay > 0 for look in looks)


def test_a_file_that_is_never_processed_ends_the_run_in_time(tmp_path: Path) -> None:
    pending = answer(200, {"id": "file-1", "status": "pending"})
    play = Play(tmp_path, lambda errand: pending, OpenAIBatches(Quirks(processed=True)))
    with pytest.raises(CeilingReached, match="processed"):
        play.go()
    assert play.count("POST", "/files") <= 3 and len(play.calls) < 300


@pytest.mark.parametrize("step", ["uploaded", "asked"])
def test_a_run_that_ends_before_the_create_call_leaves_nothing_in_doubt(tmp_path: Path, step: str) -> None:
    play = Play(tmp_path, openai(answer(200, BATCH)))
    play.store.stop_at = step
    with pytest.raises(Left):
        play.go()
    assert not play.count("POST", "/batches")
    assert play.run.ticket.step is Step.UPLOADED and (play.store.marks or [False])[-1] is False


def anthropic_batch(id: str, created: float, status: str = "in_progress") -> dict[str, Any]:
    done = "succeeded" if status == "ended" else "processing"
    return {"id": id, "processing_status": status, "created_at": created, "request_counts": {done: 2}}


@pytest.mark.parametrize("late", [0.0, 1700.0, 12_000.0])
@pytest.mark.parametrize("skew", [0.0, -5000.0, 5000.0])
def test_a_lost_batch_is_found_after_a_slow_upload_and_by_another_clock(
    tmp_path: Path, late: float, skew: float
) -> None:
    asked = EPOCH - 50_000.0
    mine = anthropic_batch("mine", asked + late + skew, "ended")
    row = json.dumps({"custom_id": f"{TAG}-0", "result": {"type": "expired"}}).encode()
    taken = list[str]()

    def reply(errand: Errand) -> Reply:
        if errand.address.startswith("/messages/batches?"):
            return answer(200, {"data": [mine], "has_more": False}, date=formatdate(EPOCH + skew, usegmt=True))
        taken.append(errand.address)
        return Reply(200, {}, row) if errand.address.endswith("results") else refused(401)

    play = Play(tmp_path, reply, AnthropicBatches())
    play.begin_at(Step.ASKED, asked_at=asked, first_asked_at=asked, bytes=250_000_000)
    with pytest.raises(ActionNeeded):
        play.go()
    assert play.run.ticket.batch == "mine" and play.count("POST", "/messages/batches") == 0


DAY = 86_400.0


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["ahead", "back"])
@pytest.mark.parametrize("listed_after", [0.0, 300.0])
def test_a_lost_batch_is_found_although_our_clock_jumped_since(
    tmp_path: Path, jump: float, listed_after: float
) -> None:
    """By the provider's clock it was asked for a minute ago; its list has a younger one first, on another page."""
    asked = EPOCH - jump - 60.0
    mine = {**BATCH, "created_at": asked, "input_file_id": "file-1"}
    other = {**mine, "id": "other", "input_file_id": "file-2", "created_at": asked + 30}

    def reply(errand: Errand) -> Reply | Fault:
        if not errand.address.startswith("/batches?"):
            return openai(answer(200, BATCH))(errand)
        passed = LoopClock().monotonic()
        first = "after=" not in errand.address
        page = [other] if first else [mine] * (passed >= listed_after)
        return answer(200, {"data": page, "has_more": first}, date=formatdate(asked + 60 + passed, usegmt=True))

    play = Play(tmp_path, reply, hold=True)
    play.begin_at(Step.ASKED, asked_at=asked, first_asked_at=asked, file="file-1")
    assert play.go() < 2000.0
    assert play.run.ticket.batch == "batch-1" and play.count("POST", "/batches") == 0


@pytest.mark.parametrize("date", [{}, {"date": formatdate(EPOCH + DAY, usegmt=True)}], ids=["", "told"])
def test_a_clock_that_went_back_does_not_make_a_day_of_waiting(tmp_path: Path, date: dict[str, str]) -> None:
    nothing = Reply(200, date, b'{"data": [], "has_more": false}')
    play = Play(tmp_path, openai(answer(200, BATCH), nothing), hold=True)
    play.begin_at(Step.ASKED, asked_at=EPOCH + DAY, first_asked_at=EPOCH + DAY, file="file-1")
    assert play.go() < 2000.0 and play.count("POST", "/batches") == 1


def test_a_batch_of_the_first_request_is_found_after_the_second_was_lost_too(tmp_path: Path) -> None:
    mine = anthropic_batch("mine", EPOCH - 20_000.0, "ended")

    def reply(errand: Errand) -> Reply:
        if errand.address.startswith("/messages/batches?"):
            return answer(200, {"data": [mine], "has_more": False})
        row = {"custom_id": f"{TAG}-1", "result": {"type": "expired"}}
        return answer(200, row) if errand.address.endswith("results") else refused(401)

    play = Play(tmp_path, reply, AnthropicBatches())
    play.begin_at(Step.ASKED, asked_at=EPOCH - 100.0, first_asked_at=EPOCH - 20_010.0, unsure=1)
    with pytest.raises(ActionNeeded):
        play.go()
    assert play.run.ticket.batch == "mine"


CUT = b'{"custom_id":"%s-0","result":{"type":"succeeded","message":{"content":[{"type":"text","text":"' % TAG.encode()


@pytest.mark.parametrize(
    ("rows", "ours"),
    [
        (CUT, True),
        (CUT + b"\\ud800", True),
        (CUT.replace(TAG.encode(), b"somebody"), False),
        (b'{"result":{"type":"succeeded","message":{"content":[{"text":"\\"custom_id\\":\\"x\\"', None),
        (b"", None),
    ],
)
def test_a_row_that_is_cut_off_tells_whose_it_is_only_by_its_id(rows: bytes, ours: bool | None) -> None:
    api = AnthropicBatches()
    ticket = replace(Play(Path("x"), lambda errand: answer(200)).run.ticket, asked_at=EPOCH)
    talk, listed = api.look(ticket, EPOCH - 600), {"data": [anthropic_batch("b", EPOCH, "ended")]}
    next(talk)
    said = answer(200, listed)
    seen = None
    try:
        while True:
            talk.send(said)
            said = Reply(200, {}, rows)
    except StopIteration as end:
        seen = end.value
    assert [one.ours for one in seen] == ([] if ours is False else [ours])


def test_without_waiting_a_candidate_that_still_runs_is_left_to_the_next_run(tmp_path: Path) -> None:
    running = answer(200, {"data": [anthropic_batch("x", EPOCH)], "has_more": False})
    play = Play(tmp_path, lambda errand: running, AnthropicBatches(), waits=False)
    play.begin_at(Step.ASKED, asked_at=EPOCH, first_asked_at=EPOCH)
    with pytest.raises(Left):
        play.go()
    assert len(play.calls) == 1


def test_a_candidate_that_ended_and_never_tells_whose_it_is_holds_nobody_for_ever(tmp_path: Path) -> None:
    ended = answer(200, {"data": [anthropic_batch("x", EPOCH, "ended")], "has_more": False})

    def reply(errand: Errand) -> Reply:
        return ended if "?" in errand.address else refused(404)

    play = Play(tmp_path, reply, AnthropicBatches(), hold=True)
    play.begin_at(Step.ASKED, asked_at=EPOCH, first_asked_at=EPOCH)
    with pytest.raises(Left):
        play.go()
    assert play.run.undecided


def test_the_wait_says_why_calls_fail(tmp_path: Path) -> None:
    seen: list[str | None] = []

    def reply(errand: Errand) -> Reply:
        seen.append(play.run.calls.trouble)
        return refused(503, "come back later") if len(seen) < 3 else refused(401)

    play = Play(tmp_path, reply)
    with pytest.raises(ActionNeeded):
        play.go()
    assert seen[0] is None and "the upload fails (503): come back later" in str(seen[1])


@pytest.mark.parametrize("path", ["/files", "/batches"])
def test_what_is_too_large_for_a_server_is_given_back_for_smaller_batches(tmp_path: Path, path: str) -> None:
    def reply(errand: Errand) -> Reply:
        return Reply(413, {}, b"<html>too large</html>") if errand.address == path else answer(200, {"id": "file-1"})

    play = Play(tmp_path, reply).begin_at(Step.DRAWN, bytes=1_000_000)
    play.go()
    assert play.store.steps[-1] == "void" and play.count("POST", path) == 1
    assert play.run.not_run is not None and not play.run.not_run.full


def test_a_server_that_finds_a_small_file_too_large_takes_none(tmp_path: Path) -> None:
    play = Play(tmp_path, lambda errand: Reply(413, {}, b"")).begin_at(Step.DRAWN, bytes=1000)
    with pytest.raises(ActionNeeded, match="413"):
        play.go()
    assert play.count("POST", "/files") == 1


@given(
    step=st.sampled_from([Step.DRAWN, Step.UPLOADED, Step.ASKED, Step.RUNNING, Step.ENDED, Step.FETCHED]),
    was_made=st.booleans(),
    creates=st.lists(st.sampled_from(["answered", "made, lost", "lost", "refused", "no name"]), max_size=5),
    share=st.floats(0, 0.99),
    hold=st.booleans(),
)
def test_from_any_step_and_whatever_the_provider_did_a_listed_batch_is_made_once(
    step: Step, was_made: bool, creates: list[str], share: float, hold: bool
) -> None:
    clock, lag = LoopClock(), share * (REMOTE.lag.hold if hold else REMOTE.lag.retry)
    is_there = step in (Step.RUNNING, Step.ENDED, Step.FETCHED) or (step is Step.ASKED and was_made)
    made, waiting = [EPOCH] * is_there, list(creates)

    def reply(errand: Errand) -> Reply | Fault:
        if errand.method == "POST" and errand.address == "/batches":
            what = waiting.pop(0) if waiting else "answered"
            if what == "refused":
                return refused(503)
            if what != "lost":
                made.append(clock.wall())
            return answer(200, BATCH if what == "answered" else {}) if "lost" not in what else LOST
        if errand.address.startswith("/batches?"):
            shown = [BATCH | {"input_file_id": "file-1"} for at in made if clock.wall() >= at + lag]
            return answer(200, {"data": shown, "has_more": False})
        return answer(200, FILE if errand.address == "/files" else BATCH)

    asked = step not in (Step.DRAWN, Step.UPLOADED)
    play = Play(Path("nowhere"), reply, hold=hold).begin_at(
        step,
        file=None if step is Step.DRAWN else "file-1",
        nth=int(asked),
        asked_at=EPOCH * asked,
        first_asked_at=EPOCH * asked,
        batch="batch-1" if is_there and step is not Step.ASKED else None,
    )
    try:
        play.go()
    except CeilingReached:
        assert not made, "a batch that is there is found"
    else:
        assert play.store.steps[-1] == "settled" and len(made) == 1


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("api", [OpenAIBatches(), AnthropicBatches()], ids=["listed", "late"])
def test_the_list_of_another_account_proves_nothing(tmp_path: Path, api: Any, waits: bool, hold: bool) -> None:
    play = Play(tmp_path, lambda errand: NO_BATCHES, api, waits=waits, hold=hold)
    play.begin_at(Step.ASKED, account="another", asked_at=EPOCH - 9e5, first_asked_at=EPOCH - 9e5, nth=1)
    with pytest.raises(ActionNeeded, match=f"{TAG}.*another key") as stopped:
        play.go()
    assert len(play.calls) == 1 and play.run.ticket.step is Step.ASKED and "--give-up" in str(stopped.value.hint)


def test_a_batch_that_another_key_asked_for_is_adopted_where_its_account_is_the_same(tmp_path: Path) -> None:
    found = answer(200, {"data": [{**BATCH, "created_at": EPOCH, "metadata": {"llmbatch": TAG}}], "has_more": False})
    play = Play(tmp_path, openai(LOST, found)).begin_at(Step.ASKED, account="another", asked_at=EPOCH)
    play.go()
    assert play.store.steps == ["running", "ended", "fetched", "settled"]


def test_a_file_of_another_account_is_uploaded_again_and_the_batch_is_of_the_key_that_made_it(tmp_path: Path) -> None:
    play = Play(tmp_path, openai(answer(200, BATCH))).begin_at(Step.UPLOADED, account="another", file="file-0")
    play.go()
    assert play.store.steps[:4] == ["drawn", "uploaded", "asked", "running"]
    assert play.count("POST", "/batches") == 1 and play.run.ticket.account == "a"


PAGE = b"<html><title>Blocked</title>Go to https://gw.example/in?key=SECRET</html>"


@pytest.mark.parametrize("status", [301, 307, 403, 407, 413, 511])
def test_a_gateway_that_lets_nothing_through_is_asked_once_and_named(tmp_path: Path, status: int) -> None:
    play = Play(tmp_path, openai(Reply(status, {"location": "https://in.example/?key=SECRET"}, PAGE)))
    with pytest.raises(ActionNeeded, match=str(status)) as stopped:
        play.go()
    assert play.count("POST", "/batches") == 1 and "SECRET" not in str(stopped.value)
    assert play.run.ticket.step is Step.UPLOADED and play.store.marks[-1] is False


@pytest.mark.parametrize("call", ["/files", "/batches"])
@pytest.mark.parametrize("body", [PAGE, b'{"next": "https://gw.example/in?key=SECRET"}'], ids=["page", "object"])
def test_what_comes_instead_of_an_answer_is_told_without_the_queries_of_addresses(
    tmp_path: Path, call: str, body: bytes
) -> None:
    provider = openai(answer(200, BATCH))
    play = Play(tmp_path, lambda errand: Reply(200, {}, body) if errand.address == call else provider(errand))
    with pytest.raises((ActionNeeded, CeilingReached), match=r"Blocked|gw\.example") as stopped:
        play.go()
    assert "SECRET" not in str(stopped.value) and play.run.ticket.batch is None
