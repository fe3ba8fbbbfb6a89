"""Refusals at random among answers, written as CODE:SHARE[:RETRY_AFTER] on the command line. Pure."""

from typing import NamedTuple

__all__ = ["RandomRefusal", "drawn"]


class RandomRefusal(NamedTuple):
    """A share of all requests that gets this status, and, if there is one, a wait in seconds."""

    status: int
    share: float
    retry_after: str = ""

    @classmethod
    def parse(cls, text: str) -> "RandomRefusal":
        """Read `CODE:SHARE[:RETRY_AFTER]`, as 429:0.05:1. Raises ValueError."""
        code, _, rest = text.partition(":")
        share, _, wait = rest.partition(":")
        refusal = cls(int(code), float(share), wait)
        if not (400 <= refusal.status <= 599 and 0 <= refusal.share <= 1) or (wait and not float(wait) >= 0):
            raise ValueError(text)
        return refusal


def drawn(refusals: tuple[RandomRefusal, ...], draw: float) -> RandomRefusal | None:
    """Return the refusal that a draw, uniform in [0, 1), falls on; None for an answer."""
    for refusal in refusals:
        if draw < refusal.share:
            return refusal
        draw -= refusal.share
    return None
