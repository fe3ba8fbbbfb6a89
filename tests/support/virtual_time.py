"""An event loop whose clock jumps to the next timer when nothing else is left to do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["LoopClock", "Stuck", "VirtualTimeLoop", "run_virtually"]

T = TypeVar("T")

EPOCH = 1_700_000_000.0
TURN = 1e-9


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set: a real loop would wait for ever."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Hours pass in milliseconds; a deadlock is an error instead of a test that hangs.

    Every turn of the loop takes a nanosecond, so that time passes for those who look at it again and again.
    """

    def __init__(self) -> None:
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        self._now = 0.0
        self._look = selector.select
        selector.select = self._jump  # type: ignore[method-assign]

    def time(self) -> float:
        return self._now

    def _jump(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self._look(0)
        if not events:
            if timeout is None:
                raise Stuck("everybody waits for somebody else")
            self._now += timeout
        self._now += TURN
        return events


class LoopClock:
    """The running loop's time as the program's clock."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run on a loop of virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
