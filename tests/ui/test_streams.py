"""Lines about events."""

from llmbatch.core.events import Paused
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Route
from llmbatch.ui.streams import EventLog


def test_a_pause_is_told_with_its_reason_and_each_word_once() -> None:
    said: list[str] = []
    route = Route("/chat/completions", "m", "chat")
    for fault in (
        Fault(kind=Kind.CONNECTION, message="connection refused by localhost:8000"),
        Fault(kind=Kind.RATE_LIMITED, message="slow down", status=429),
    ):
        EventLog(said.append, str, verbose=False)(Paused(route, fault, 9.0, 9.0))
    assert said == [
        "llmbatch: waiting 9 s: connection refused by localhost:8000",
        "llmbatch: waiting 9 s: rate_limited (HTTP 429): slow down",
    ]
