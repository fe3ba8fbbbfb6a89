"""One deadline after another for one lane, on a single timer.

A timer per attempt would be a large part of what a record costs. This one is set once; when it fires, it checks
whether the current attempt is the one that it was set for.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

__all__ = ["Deadline"]

LATE = 0.5
"""Seconds after its time at which a timer fires only when the process was stopped: Ctrl-Z, a frozen container."""
GRACE = 1.0
"""Seconds that are then allowed for reading what arrived meanwhile: it may be a paid answer."""


class Deadline:
    """Ends attempts that take longer than `seconds`. As a context it limits what the current task does there.

    The context raises TimeoutError. Outside of a context `begin` is told what to call then.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None
        """When the current attempt is late; None between attempts."""
        self._expire: Callable[[], object]
        self._cancelled = False
        """Whether the task in the context was cancelled for being late."""
        self._extended = False

    def begin(self, expire: Callable[[], object]) -> None:
        """Begin an attempt; `expire` is called when it is late."""
        self._expire = expire
        self._until = self._loop.time() + self._seconds
        self._extended = False
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._check, self._until)

    def end(self) -> None:
        """End the attempt."""
        self._until = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._cancelled = False
        self.begin(partial(self._cancel, task))
        return self

    def _cancel(self, task: asyncio.Task[object]) -> None:
        self._cancelled = True
        task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        task = asyncio.current_task()
        # Cancellations by others take precedence.
        if self._cancelled and task is not None and task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, due: float) -> None:
        """End the attempt if it is late, else check again when it would be. `due` is when this check was planned."""
        self._timer = None
        if self._until is None:
            return
        now = self._loop.time()
        if now - due > LATE and not self._extended:
            self._extended = True
            self._until = max(self._until, now + GRACE)
        if now < self._until:
            self._timer = self._loop.call_at(self._until, self._check, self._until)
        else:
            self._expire()
