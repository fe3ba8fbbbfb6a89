"""The log of tickets after every kind of end: whatever was cut off, no step that was taken is forgotten."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.errors import UsageError
from llmbatch.core.ticket import Step, Ticket, custom_id, line_of
from llmbatch.results.ticket_log import NAME, TicketLog, _sealed, read_log

STEPS = [
    (Step.UPLOADED, {"file": "f1"}),
    (Step.ASKED, {"nth": 1, "asked_at": 5.0}),
    (Step.RUNNING, {"batch": "b1", "created_at": 6.0}),
    (Step.ENDED, {"status": "completed", "outputs": ["o1", "o2"]}),
    (Step.FETCHED, {}),
]


def written(folder: Path, steps: int, tag: str = "t" * 16) -> TicketLog:
    log = TicketLog(folder)
    log.open()
    ticket = Ticket(tag=tag, step=Step.DRAWN, path="/chat/completions", model="m", count=3)
    log.draw(ticket)
    for step, facts in STEPS[:steps]:
        ticket = log.record(ticket, step, **facts)
    log.close()
    return log


def reopened(folder: Path, *, move_broken: bool = False) -> TicketLog:
    log = TicketLog(folder)
    log.open(move_broken=move_broken)
    log.close()
    return log


@pytest.mark.parametrize("steps", range(len(STEPS) + 1))
def test_a_ticket_is_read_as_it_was_after_each_step(tmp_path: Path, steps: int) -> None:
    log = written(tmp_path, steps)
    assert reopened(tmp_path).tickets == log.tickets


def test_a_settled_ticket_is_over(tmp_path: Path) -> None:
    log = written(tmp_path, len(STEPS))
    log.record(log.tickets["t" * 16], Step.SETTLED)
    log.close()
    assert reopened(tmp_path).tickets == {}


def test_a_log_cut_anywhere_has_every_step_but_the_one_that_was_being_written(tmp_path: Path) -> None:
    written(tmp_path, len(STEPS))
    content = (tmp_path / NAME).read_bytes()
    for size in range(len(content)):
        (tmp_path / NAME).write_bytes(content[:size])
        whole = content[:size].count(b"\n")
        tickets = reopened(tmp_path).tickets
        assert len(tickets) == min(whole, 1)
        if whole > 1:
            assert tickets["t" * 16].step is STEPS[whole - 2][0]
        assert (tmp_path / NAME).read_bytes() == content[: content[:size].rfind(b"\n") + 1]


@given(st.data())
def test_one_flipped_bit_is_a_refusal_that_names_the_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    written(folder, 2)
    content = bytearray((folder / NAME).read_bytes())
    at = data.draw(st.integers(0, len(content) - 2))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    (folder / NAME).write_bytes(bytes(content))
    torn = read_log(folder / NAME)
    if not torn.damaged:  # the last line lost its end or got a NUL: it looks like one that a crash cut
        assert bytes(content).count(b"\n") != 3 or b"\0" in content
        return
    with pytest.raises(UsageError, match=r"damaged.*nothing was sent"):
        reopened(folder)
    # The step that is missing may have been the request for the batch: it is looked up.
    moved = reopened(folder, move_broken=True)
    assert all(ticket.is_open for ticket in moved.tickets.values())
    assert reopened(folder).tickets == moved.tickets


def test_learned_limits_outlive_their_ticket(tmp_path: Path) -> None:
    log = TicketLog(tmp_path)
    log.open()
    log.learn("m", 2_000_000)
    log.close()
    assert reopened(tmp_path).limits == {"m": 2_000_000}


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_an_id_of_a_row_leads_back_to_its_line_and_no_other_text_does(line: int, count: int) -> None:
    tag = "abc123def456ghi7"
    assert line_of(tag, count, custom_id(tag, line)) == (line if line < count else None)
    assert line_of(tag, 10**9, f" {tag}-{line} ".upper()) == line
    for stranger in (f"{tag}-0{line}", f"{tag}-{line} 1", f"{tag}{line}", f"other-{line}", line, None, f"{tag}-٣"):
        assert line_of(tag, 10**9, stranger) is None


@pytest.mark.parametrize("move_broken", [False, True])
def test_a_step_of_a_newer_version_is_no_damage_and_nothing_is_moved(tmp_path: Path, move_broken: bool) -> None:
    written(tmp_path, 3)
    with (tmp_path / NAME).open("ab") as file:
        file.write(_sealed({"t": "t" * 16, "step": "archived"}))
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(UsageError, match="newer llmbatch") as refused:
        reopened(tmp_path, move_broken=move_broken)
    assert "that version" in str(refused.value.hint) and (tmp_path / NAME).read_bytes() == before
