"""The protocols by which the engine uses the other packages."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from llmbatch.core.events import Event
from llmbatch.core.exchange import ReadReply, Request
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import AlreadyDone, InvalidRecord, Outcome
from llmbatch.core.prompt import Prompt

__all__ = ["AttemptLog", "Dialect", "Input", "IntentLog", "Lane", "Observer", "Sink"]

AttemptLog = Callable[[str], None]
"""Takes one line about an attempt, for `--debug`."""

Observer = Callable[[Event], None]
"""Watches a run; quick, synchronous, must not raise."""


class Lane(Protocol):
    """One lane: asks one request at a time."""

    def ask(self, request: Request) -> Awaitable[ReadReply | Fault]:
        """Make one attempt, within the attempt's deadline; return what the answer says, or why there is none.

        Raises OutputError when it could not be marked that the request leaves: then it did not.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


class Dialect(Protocol):
    """The shape of one API's requests. Pure; how its answers are read follows from what a request expects.

    `params` are the top-level fields of an API-shaped record that are sent rather than kept as meta.
    """

    name: str
    params: frozenset[str]

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return how many of the jobs of a route, from the first on, the next request may serve: one or more."""
        ...

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body fields of one record, as if sent alone. Raises RecordError."""
        ...

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request that serves the jobs."""
        ...


class Input(Protocol):
    """Where jobs come from. Called from a thread, so it may block."""

    def read(self, limit: int) -> list[Job | InvalidRecord | AlreadyDone | Outcome]:
        """Return what is there, at least one and at most `limit`; an empty list at the end of the input."""
        ...

    def interrupt(self) -> None:
        """Make a blocked `read` return an empty list, now and from then on. Called from another thread."""
        ...


class IntentLog(Protocol):
    """Remembers, beyond the death of the process, which requests left. Cheap enough for the event loop."""

    def sent(self, jobs: Sequence[Job]) -> None:
        """Note that a request for the jobs is about to leave."""
        ...

    def mark_sent(self) -> None:
        """Put on file what `sent` noted, before it leaves. Raises OutputError: then none of it must leave."""
        ...

    def came_back(self, jobs: Sequence[Job]) -> None:
        """Note that the last attempt is settled, as far as the jobs' counters do not say otherwise."""
        ...

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Put paid answers on disk for jobs that ask for a better one. Blocks; raises OutputError."""
        ...


class Sink(Protocol):
    """Where results go. Called from a thread, so it may block."""

    def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Write the outcomes, whole lines only. Raises OutputError or ReaderGone."""
        ...
