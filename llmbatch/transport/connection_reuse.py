"""Learns which servers silently close the connections that they seemed to keep, so that none there is used again. Pure.

A request that is sent on such a connection is lost, and it may be billed. Some servers close after every answer, others
only after streamed ones.
"""

import math
from collections import Counter
from dataclasses import dataclass

__all__ = ["ConnectionReuse"]

LOST = 2
"""So many losses are a habit: one may be chance."""
APART = 0.5
"""Seconds between them: a server that goes down loses all its connections at once."""
SELDOM = 20
"""Unless so many times more requests were answered on kept connections."""


@dataclass(slots=True)
class _Path:
    lost_after_streams: int = 0
    losses: int = 0
    lost_at: float = -math.inf


class ConnectionReuse:
    """What the lanes to one server have learned about each path."""

    def __init__(self) -> None:
        self._paths: dict[str, _Path] = {}
        """The paths where a connection was lost."""
        self._answered: Counter[str] = Counter()
        """Answers on kept connections."""

    def answered(self, path: str) -> None:
        """Note that a request was answered on a kept connection."""
        self._answered[path] += 1

    def lost(self, path: str, now: float, *, streamed: bool) -> None:
        """Note that a kept connection was gone when a request was sent, `streamed` if its last answer was."""
        seen = self._paths.setdefault(path, _Path())
        seen.lost_after_streams += streamed
        if now - seen.lost_at >= APART:
            seen.losses += 1
            seen.lost_at = now

    def ends_after(self, path: str, *, streamed: bool) -> bool:
        """Tell whether a connection must be closed after such an answer."""
        seen = self._paths.get(path) if self._paths else None
        if seen is None:
            return False
        often = seen.losses >= LOST and SELDOM * seen.losses > self._answered[path]
        return often or (streamed and seen.lost_after_streams >= LOST)
