"""What must hold on any service: on those composed at random no rule was tuned."""

import pytest

from llmbatch.core.outcome import Outcome
from tests.support.clients import Watched, llmbatch_takes
from tests.support.deep import DEEP
from tests.support.random_services import random_service
from tests.support.service_kinds import best_time

TIMES = 5.0
"""A run takes no more than so many times as long as the best number."""
LOST = 3
"""A 502 may be billed, so that a record is sent twice at most: so many ask in twenty seconds whether it is over."""
SEED = 7


@pytest.mark.parametrize("number", range(3000, 3200 if DEEP else 3034))
def test_every_record_is_answered_without_an_early_retry_and_in_time(number: int) -> None:
    name, kind = random_service(number)
    service, failed = Watched(kind.service(SEED, 1.0)), list[Outcome]()

    took = llmbatch_takes(kind.records, service, SEED, failed=failed)

    assert len(failed) <= (LOST if "502 from" in name else 0), name
    assert service.early == [], name
    assert took <= TIMES * best_time(kind, 1.0, [SEED], thorough=False), name
