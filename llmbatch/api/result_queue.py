"""Results on their way from the thread that writes to the loop that takes them."""

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
"""Results that may wait for who takes them; then the run waits too."""


class ResultQueue:
    """A sink whose lines somebody takes as values. Must be made on the loop they are taken on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._some = asyncio.Event()
        self._room = threading.Condition()
        self._ready: list[Result] = []
        self._closed = False
        self._render: Render | None = None

    def rendering(self, render: Render) -> "ResultQueue":
        """Set what makes the line of an outcome; return the sink."""
        self._render = render
        return self

    def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Hand over the outcomes. Raises ReaderGone."""
        assert self._render is not None
        self.write_lines(b"".join([self._render(outcome) for outcome in outcomes]))

    def write_lines(self, lines: bytes) -> None:
        """Hand over lines, waiting for room. Raises ReaderGone once nobody takes any."""
        results = [json.loads(line) for line in lines.splitlines()]
        with self._room:
            self._room.wait_for(lambda: len(self._ready) < MOST or self._closed)
            if self._closed:
                raise ReaderGone("nobody takes the results any more")
            self._ready += results
        self._loop.call_soon_threadsafe(self._some.set)

    async def take(self) -> list[Result]:
        """Wait for results and return those that are there; none once it is closed and empty."""
        while True:
            self._some.clear()
            with self._room:
                ready, self._ready = self._ready, []
                self._room.notify_all()
            if ready or self._closed:
                return ready
            await self._some.wait()

    def close(self) -> None:
        """Take no more; what is there can still be taken."""
        with self._room:
            self._closed = True
            self._room.notify_all()
        self._some.set()
