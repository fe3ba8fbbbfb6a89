"""What several sessions share that are one run for the user: the limits and the budget he set, which models work."""

from collections.abc import Callable
from dataclasses import dataclass, field

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.job import Route
from llmbatch.core.settings import PaceSettings
from llmbatch.pacing.cost import Budget
from llmbatch.pacing.token_bucket import TokenBucket

__all__ = ["Shared"]


@dataclass(slots=True)
class Shared:
    """The parts of a session that outlive it. A bucket of None is one that each route has for itself."""

    requests: TokenBucket | None = None
    tokens: TokenBucket | None = None
    budget: Budget | None = None
    """None for a budget of each session alone."""
    failure: Callable[[], LlmbatchError | None] = lambda: None
    """Returns why the limits cannot be had any more, which ends the run."""
    worked: set[Route] = field(default_factory=set)
    """The routes that had an answer."""
    level: float = 0.0
    """How many requests may be in flight after the first answer of a session, where one before it found that out."""

    def learn(self, worked: set[Route], level: float) -> None:
        """Take what a session found out: which routes had an answer, and how many may be in flight."""
        self.worked |= worked
        self.level = level

    @classmethod
    def of(cls, pace: PaceSettings, budget: Budget | None = None) -> "Shared":
        """Make the buckets of `--rpm` and `--tpm`."""
        return cls(
            TokenBucket(pace.rpm, sliced=True) if pace.rpm is not None else None,
            TokenBucket(pace.tpm) if pace.tpm is not None else None,
            budget,
        )
