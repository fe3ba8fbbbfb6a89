"""One deadline after another for one task, on a single timer.

A timer per attempt would be a large part of what a record costs. This one is set once; when it fires, it checks
whether the current attempt is the one that it was set for.
"""

import asyncio
from types import TracebackType
from typing import Self

__all__ = ["Deadline"]

LATE = 0.5
"""Seconds after its time at which a timer fires only when the process was stopped: Ctrl-Z, a frozen container."""
GRACE = 1.0
"""Seconds that are then allowed for reading what arrived meanwhile: it may be a paid answer."""


class Deadline:
    """Limits what its task does within the context to `seconds`, then raises TimeoutError. It may be entered again.

    It belongs to the task that created it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[object] = task
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None
        """When the current attempt is late; None between attempts."""
        self._expired = False
        self._extended = False

    def __enter__(self) -> Self:
        self._until = self._loop.time() + self._seconds
        self._extended = False
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._check, self._until)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._until = None
        if self._expired:
            self._expired = False
            # Cancellations by others take precedence.
            if self._task.uncancel() == 0 and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, due: float) -> None:
        """Cancel the attempt if it is late, else check again when it would be. `due` is when this check was planned."""
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
            self._expired = True
            self._task.cancel()
