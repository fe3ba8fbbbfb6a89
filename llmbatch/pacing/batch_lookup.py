"""Whether a batch exists whose creation was cut off: adopt it, create it again, look again, or hold. Pure.

No provider has an idempotency key for batches. So a creation is asked for once, and where its answer is lost the
provider's list decides; a list may lag behind, so its silence counts only after several looks over some time.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from llmbatch.core.ticket import Proof, Sighting

__all__ = ["EARLY", "Found", "Lag", "Next", "Verdict", "decide", "since"]

EARLY = 600.0
"""Seconds before the request at which a batch may seem to have been created: clocks differ."""
LOOKS = 3
"""Looks that must find nothing."""


class Lag(NamedTuple):
    """For how many seconds a list may not show a batch yet, by `--in-doubt`."""

    retry: float = 120.0
    hold: float = 900.0


class Verdict(Enum):
    """What to do about the batch."""

    ADOPT = "adopt"
    CREATE = "create"
    """It is not there: create it again, with the same file."""
    CREATE_UNSURE = "create, possibly twice"
    """It may be there, but nobody can tell: create it, and count what may be paid twice."""
    LOOK = "look again"
    HOLD = "hold"


class Next(NamedTuple):
    """The verdict. `at` is when to look again; `batch` is adopted, `more` are further batches of the same file."""

    verdict: Verdict
    at: float = 0.0
    batch: Sighting | None = None
    more: tuple[str, ...] = ()


class Found(NamedTuple):
    """What the looks since the last request for the batch found; times are ours, in seconds.

    `empty` are the times of the looks that told nothing: they found no batch which may be ours, or only some that have
    ended and do not say whose they are. `seen` is what the last look found.
    """

    asked_at: float
    empty: Sequence[float] = ()
    seen: Sequence[Sighting] = ()


def since(asked_at: float, skew: float) -> float:
    """Return from when on a batch may be the one that was asked for, by the provider's clock."""
    return asked_at + skew - EARLY


def decide(proof: Proof, found: Found, *, hold: bool, lag: Lag, now: float) -> Next:
    """Decide after a look. `hold` is `--in-doubt hold`."""
    ours = sorted((one for one in found.seen if one.ours), key=lambda one: (one.created_at, one.batch))
    if ours:
        # The older one: the run that asked again got the later one.
        return Next(Verdict.ADOPT, batch=ours[0], more=tuple(one.batch for one in ours[1:]))
    patience = lag.hold if hold else lag.retry
    if any(one.ours is None and not one.ended for one in found.seen):
        return Next(Verdict.LOOK, at=now + max(patience / 4, 1.0))
    absent = len(found.empty) >= LOOKS and found.empty[-1] >= found.asked_at + patience
    if not absent:
        step = patience / LOOKS
        due = found.asked_at + patience
        return Next(Verdict.LOOK, at=min(due, now + step) if now < due else now + min(10.0, step / 4))
    if proof is Proof.LISTED:
        return Next(Verdict.CREATE)
    return Next(Verdict.HOLD if hold else Verdict.CREATE_UNSURE)
