"""Learns which servers silently close connections after streamed answers, so that none there is used again. Pure."""

from collections import Counter

__all__ = ["StreamReuse"]

LOST = 2
"""So many connections lost in this way are a habit: one may be chance, and each may cost a request that is billed."""


class StreamReuse:
    """What the lanes to one server have learned about each path."""

    def __init__(self) -> None:
        self._lost: Counter[str] = Counter()

    def lost(self, path: str) -> None:
        """Note that a connection kept after a streamed answer was gone when the next request was sent."""
        self._lost[path] += 1

    def ends_after(self, path: str) -> bool:
        """Tell whether a connection must be closed after a streamed answer."""
        return self._lost[path] >= LOST if self._lost else False
