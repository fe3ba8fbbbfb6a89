"""Runs blocking calls on a thread of their own, which costs less than the pool of anyio, or on none while brief."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import anyio

from llmbatch.core.cpu import use_batch_scheduling
from llmbatch.core.thread import start_thread

__all__ = ["Offload", "WhileBrief"]

BRIEF = 0.01
"""The most seconds of a brief call: about as long as a thread keeps Python's lock from the loop anyway."""
RARELY, SPARE = 20, 2.0
"""Longer calls may take one part in so many of the loop's time, and may come so many seconds before that time."""


class Offload:
    """Takes calls from the loop that it was made on, one at a time, while its context lasts; ends after the last."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], asyncio.Future[Any]] | None] = SimpleQueue()

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what the function returns, or raise what it raises. A caller that is cancelled waits all the same."""
        done = self._loop.create_future()
        self._calls.put((function, args, done))
        with anyio.CancelScope(shield=True):
            result, error = await done
        if error is not None:
            raise error
        return result

    def __enter__(self) -> None:
        start_thread(self._work)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        use_batch_scheduling()
        while (call := self._calls.get()) is not None:
            function, args, done = call
            result = failure = None
            try:
                result = function(*args)
            except BaseException as error:  # of every kind, since the caller awaits it
                failure = error
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_tell, done, result, failure)
            del call, function, args, done, result, failure  # or a batch would live until the next call


class WhileBrief:
    """Makes calls on the loop while they are brief, and hands them to a thread while they are not.

    Handing over costs more CPU than a brief call, since the thread and the loop take Python's lock from each other, so
    that some longer calls, as of a disk that is busy for a moment, change nothing. A disk that stalls holds up the loop
    once, and all in all for a twentieth of the time at most.
    """

    def __init__(self, offload: Callable[..., Awaitable[Any]], monotonic: Callable[[], float]) -> None:
        self._offload = offload
        self._monotonic = monotonic
        self._paid_at = -math.inf
        """When the longer calls so far will have been one part in RARELY of the time."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what the function returns, or raise what it raises."""
        began = self._monotonic()
        if self._paid_at - began > SPARE:
            return await self._offload(function, *args)
        try:
            return function(*args)
        finally:
            ended = self._monotonic()
            if ended - began > BRIEF:
                self._paid_at = max(self._paid_at, ended) + RARELY * (ended - began)


def _tell(done: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if not done.done():
        done.set_result((result, failure))
