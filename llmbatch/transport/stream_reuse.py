"""Learns which servers close kept connections, unannounced, after streamed answers: there none is used twice. Pure."""

from collections import Counter

__all__ = ["StreamReuse"]

LOST = 2
"""Connections lost in this way: one may be chance, and each may have cost a request that is billed."""


class StreamReuse:
    """What the lanes to one server have learned, for each path."""

    def __init__(self) -> None:
        self._lost: Counter[str] = Counter()

    def lost(self, path: str) -> None:
        """Note that a connection which was kept after a streamed answer was gone when the next request went out."""
        self._lost[path] += 1

    def ends_after(self, path: str) -> bool:
        """Tell whether a connection is to be closed after a streamed answer."""
        return self._lost[path] >= LOST if self._lost else False
