"""Tells whether answers take as long as when few requests were in flight. Pure.

By Little's law a server that answers as quickly with more requests in flight brings more answers a second: it does not
queue them. The first answers of a crowd are its quickest ones, which is true of the first few requests as well, since
they left a moment before it.
"""

__all__ = ["LatencyBaseline"]

AS_QUICK = 1.5
"""How many times longer than at first an answer may take, for its whole or for each of its tokens."""

ALONE = 3
"""With so many in flight, most servers queue none."""


class LatencyBaseline:
    """The mean latency of answers to requests that left with at most `few` in flight."""

    def __init__(self, few: int) -> None:
        self._few = few
        self._count = 0
        self._latency = 0.0
        self._per_token = 0.0
        self._lone = 0
        self.alone = 0.0
        """The mean latency in seconds of the first few requests, with hardly another one in flight; 0 before that."""

    def is_as_quick(self, latency: float, output_tokens: int, load: int) -> bool:
        """Tell whether an answer was as quick as the first ones, and learn from it if it is one of them.

        `load` is how many were in flight when its request left, itself included.
        """
        per_token = latency / max(1, output_tokens)
        if load <= ALONE and self._lone < ALONE:
            self._lone += 1
            self.alone += (latency - self.alone) / self._lone
        if load <= self._few:
            self._count += 1
            self._latency += (latency - self._latency) / self._count
            self._per_token += (per_token - self._per_token) / self._count
        return latency <= AS_QUICK * self._latency or per_token <= AS_QUICK * self._per_token
