"""Passes results from the thread that writes them to the event loop of the caller."""

import asyncio
import threading
from collections.abc import Sequence

from llmbatch.api.result import Result
from llmbatch.codec import json
from llmbatch.core.errors import ReaderGone
from llmbatch.core.outcome import InvalidRecord, Outcome
from llmbatch.results.render import Render

__all__ = ["ResultQueue"]

MOST = 1024
"""How many results may wait to be taken. Beyond that the run waits."""


class ResultQueue:
    """A sink whose lines the caller takes as values. Make it on the loop that calls `take`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._some = asyncio.Event()
        self._room = threading.Condition()
        self._ready: list[Result] = []
        self._closed = False
        self._render: Render | None = None

    def rendering(self, render: Render) -> "ResultQueue":
        """Set the function that renders outcomes as lines; return the sink."""
        self._render = render
        return self

    def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Hand over the outcomes. Raises ReaderGone."""
        assert self._render is not None
        self.write_lines(b"".join([self._render(outcome) for outcome in outcomes]))

    def write_lines(self, lines: bytes) -> None:
        """Hand over lines, waiting for room. Raises ReaderGone once the queue is closed."""
        results = [json.loads(line) for line in lines.splitlines()]
        with self._room:
            self._room.wait_for(lambda: len(self._ready) < MOST or self._closed)
            if self._closed:
                raise ReaderGone("nobody takes the results any more")
            self._ready += results
        self._loop.call_soon_threadsafe(self._some.set)

    async def take(self) -> list[Result]:
        """Wait for results and return all; return an empty list once the queue is closed and empty."""
        while True:
            self._some.clear()
            with self._room:
                ready, self._ready = self._ready, []
                self._room.notify_all()
            if ready or self._closed:
                return ready
            await self._some.wait()

    def close(self) -> None:
        """Accept no more results; those in the queue can still be taken."""
        with self._room:
            self._closed = True
            self._room.notify_all()
        self._some.set()
