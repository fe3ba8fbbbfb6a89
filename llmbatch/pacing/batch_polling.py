"""How often a provider is asked about batches, and for how long it is believed to lag. Pure, the clock passed in."""

from collections.abc import Callable
from typing import NamedTuple

from llmbatch.pacing.batch_lookup import Lag

__all__ = ["LOCAL", "REMOTE", "BatchPace"]

_EARLY = 600.0
"""Seconds in which a batch is young."""


class BatchPace(NamedTuple):
    """Seconds from one question to the next: `first`, longer each time up to `young`, later up to `most`.

    `patience` is for how long a batch that is not found, or rows that are not there, may be a passing state.
    """

    first: float
    young: float
    most: float
    lag: Lag
    patience: float
    queue_first: float
    """The first wait after the queue of a model was full; it doubles each time."""

    def wait(self, asked: int, age: float, random: Callable[[], float]) -> float:
        """Return the seconds until the next question, after `asked` of them, about a batch of this age."""
        cap = self.young if age < _EARLY else self.most
        return min(cap, self.first * 1.5 ** min(asked, 30)) * (0.8 + 0.4 * random())


REMOTE = BatchPace(10.0, 60.0, 300.0, Lag(), 900.0, 60.0)
LOCAL = BatchPace(0.2, 2.0, 5.0, Lag(retry=6.0, hold=10.0), 10.0, 0.5)
"""For a server on this machine, which answers at once and whose list lags little."""
