"""A batch as the provider keeps it: its request, and its stage at any time. Pure, the clock passed in."""

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Self

__all__ = ["Batch", "Checked", "Ended", "Problem", "Stage"]

_CHECKING = 0.1
"""The share of its time in which a batch is checked, before the first row runs."""
_RUNNING = 0.7
"""The share in which its rows run; the rest is left to write the results."""
_CANCELLING = 0.2
"""The share that a cancellation takes."""


class Stage(Enum):
    """What a batch is at: every provider has its own words for it."""

    CHECKING = "checking"
    RUNNING = "running"
    FINISHING = "finishing"
    CANCELLING = "cancelling"
    FAILED = "failed"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a batch as such cannot run; `line` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check of a batch's input found."""

    at: float
    count: int = 0
    tokens: int = 0
    """Tokens that count as enqueued until the batch ends."""
    model: str | None = None
    first: str = ""
    """The custom_id of the first row."""
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of the rows."""

    at: float
    counts: dict[str, int]
    """Rows that `succeeded`, `failed`, `expired`, were `cancelled`; those that went missing are among the succeeded."""
    usage: dict[str, int]
    outputs: tuple[str | None, str | None]
    """The files with answers and with errors; None where there is nothing to hold."""
    attempts: dict[str, int]
    """How often prompts whose faults are due a number of times were run, by digest."""


@dataclass(slots=True)
class Batch:
    """One batch. Times are Unix seconds; `number` counts the batches created before it."""

    id: str
    family: str
    number: int
    created: float
    delay: float
    """Seconds from the create to the end."""
    file: str
    endpoint: str = ""
    """The path that each row asks, below the root of the API."""
    shown: dict[str, Any] = field(default_factory=dict)
    """Fields of the create that the batch object repeats."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of the create that count for each row."""
    checked: Checked | None = None
    cancelled: float | None = None
    ended: Ended | None = None

    @classmethod
    def load(cls, value: dict[str, Any]) -> Self:
        """Build a batch from what `dump` returned, after JSON."""
        batch = cls(**value)
        if value["checked"]:
            problem = value["checked"]["problem"]
            batch.checked = Checked(**value["checked"] | {"problem": problem and Problem(**problem)})
        if value["ended"]:
            batch.ended = Ended(**value["ended"] | {"outputs": tuple(value["ended"]["outputs"])})
        return batch

    def dump(self) -> dict[str, Any]:
        """Return the batch as JSON has it."""
        return asdict(self)

    @property
    def starts(self) -> float:
        """When the first row runs."""
        return self.created + _CHECKING * self.delay

    @property
    def finishes(self) -> float:
        """When the last row has run, if nobody cancels."""
        return self.starts + _RUNNING * self.delay

    @property
    def ends(self) -> float:
        """When the results are there, or the cancellation is done."""
        end = self.created + self.delay
        return end if self.cancelled is None else min(end, self.cancelled + _CANCELLING * self.delay)

    @property
    def over(self) -> bool:
        """Whether nothing changes any more."""
        return self.ended is not None or (self.checked is not None and self.checked.problem is not None)

    def stage(self, now: float) -> Stage:
        """Return where the batch stands."""
        if self.ended is not None:
            if self.cancelled is not None:
                return Stage.CANCELLED
            return Stage.EXPIRED if self.ended.counts["expired"] else Stage.COMPLETED
        if self.checked is not None and self.checked.problem is not None:
            return Stage.FAILED
        if self.cancelled is not None:
            return Stage.CANCELLING
        if self.checked is None or now < self.starts:
            return Stage.CHECKING
        return Stage.RUNNING if now < self.finishes else Stage.FINISHING

    def rows_run(self, now: float) -> int:
        """Return how many rows have run; they run evenly, and none after a cancellation."""
        if self.checked is None or self.checked.problem is not None:
            return 0
        at = now if self.cancelled is None else min(now, self.cancelled)
        if at >= self.finishes:
            return self.checked.count
        return max(0, int(self.checked.count * (at - self.starts) / (self.finishes - self.starts)))
