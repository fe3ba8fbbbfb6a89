"""What providers say when a whole batch fails."""

import pytest

from llmbatch.batches.failures import hopeless, is_full, limit_in
from llmbatch.core.ticket import BatchError, Step, Ticket

TICKET = Ticket(tag="t" * 16, step=Step.RUNNING, model="m", count=3)


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("Enqueued token limit reached for m in organization o. Limit: 2,000,000 enqueued tokens.", 2_000_000),
        ("limit of 90000", 90_000),
        ("too many tokens", None),
        ("Limit: 5", None),
    ],
)
def test_the_limit_of_a_queue_is_read_from_its_refusal(message: str, limit: int | None) -> None:
    assert limit_in(message) == limit


def test_a_full_queue_is_told_from_a_fault_that_every_batch_would_meet() -> None:
    full, unknown = BatchError("token_limit_exceeded", "x"), BatchError("model_not_found", "no such model")
    line = BatchError("invalid_json_line", "bad", 2)
    assert is_full([full]) and not is_full([unknown, line])
    assert hopeless([line, full], TICKET) is None
    found = hopeless([unknown], TICKET)
    assert found is not None and "no such model" in found.message
