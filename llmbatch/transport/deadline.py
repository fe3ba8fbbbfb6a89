"""One deadline after another for one task, on a single timer.

A timer per attempt costs 6 us, a tenth of what a whole record may. This one is set once and looks, when it fires,
whether the attempt of the moment is the one it was set for.
"""

import asyncio
from types import TracebackType
from typing import Self

__all__ = ["Deadline"]

LATE = 0.5
"""Seconds after its time at which a timer fires only when the process was stopped: Ctrl-Z, a frozen container."""
PARDON = 1.0
"""Seconds to read, then, what came meanwhile: it may be the answer, and it is paid for."""


class Deadline:
    """Bounds whatever its task does in its context to `seconds`; raises TimeoutError beyond. Entered again and again.

    It belongs to the task that made it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[object] = task
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None
        """When the attempt of the moment is late; None between attempts."""
        self._expired = False
        self._pardoned = False

    def __enter__(self) -> Self:
        self._until = self._loop.time() + self._seconds
        self._pardoned = False
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._look, self._until)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._until = None
        if self._expired:
            self._expired = False
            # What is left to uncancel was asked by others, and goes before.
            if self._task.uncancel() == 0 and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, due: float) -> None:
        """Cancel the attempt if it is late; else look again when it would be. `due` is when this was to happen."""
        self._timer = None
        if self._until is None:
            return
        now = self._loop.time()
        if now - due > LATE and not self._pardoned:
            self._pardoned = True
            self._until = max(self._until, now + PARDON)
        if now < self._until:
            self._timer = self._loop.call_at(self._until, self._look, self._until)
        else:
            self._expired = True
            self._task.cancel()
