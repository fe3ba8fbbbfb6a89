"""A wall clock that goes back by a day each time it is read. The monotonic clock is right."""

import itertools
import time
from datetime import datetime, tzinfo

from llmbatch.core.clock import SystemClock
from llmbatch.results import disk, lock, run_log

__all__ = ["turn_back"]

DAY = 86_400


def turn_back() -> None:
    """Turn the clock of this process."""
    began, days = time.time(), itertools.count()

    def now() -> float:
        return began - next(days) * DAY

    class Datetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Datetime":
            return cls.fromtimestamp(now(), tz)

    class Time:
        strftime = staticmethod(time.strftime)

        @staticmethod
        def gmtime() -> time.struct_time:
            return time.gmtime(now())

    SystemClock.wall = staticmethod(now)  # type: ignore[method-assign]
    run_log.datetime = lock.datetime = Datetime  # type: ignore[attr-defined]
    disk.time = Time  # type: ignore[attr-defined]
