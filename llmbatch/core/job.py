"""One record of the input that can be sent: its identity and its request."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmbatch.core.attempts import Attempts

__all__ = ["Identity", "Job", "Route", "answer_key"]


class Route(NamedTuple):
    """What shares one pace: the model, the path below the base URL it is asked at, the dialect spoken there."""

    path: str
    model: str
    dialect: str = "chat"


@dataclass(slots=True)
class Identity:
    """Which input record this is.

    `index` counts records from the beginning of the input, from 0. The identity proper is `id` and `occurrence`, or,
    without an id, `record` (the digest of the record's fields) and `occurrence` (how many before it had the same).
    Where each record is sent `repeat` times, `index` counts the samples of all records, and `sample` belongs to the
    identity; `repeat` is 0 where there are no samples.
    """

    index: int
    id: str | int | None
    record: str
    occurrence: int = 0
    name: int = field(default=0, compare=False, repr=False)
    """The number that stands for all of that in tables (`codec.digest.record_name`); 0 until it is needed."""
    repeat: int = 0

    @property
    def sample(self) -> int:
        """Which of the samples of its record this is, from 0."""
        return self.index % self.repeat if self.repeat else 0

    @property
    def position(self) -> int:
        """The place of the record in the input, from 0."""
        return self.index // self.repeat if self.repeat else self.index


def answer_key(key: str, sample: int) -> str:
    """Return the key by which equal requests share an answer: samples share none."""
    return f"{(int(key, 16) + sample * _ODD) % (1 << 128):032x}" if sample else key


_ODD = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835


@dataclass(slots=True)
class Job:
    """One record that can be sent: its identity, its request, and what earlier runs left of it.

    It becomes one result line. `key` is the digest of the request as sent alone, `tokens` the estimated size of that
    request.
    """

    identity: Identity
    key: str
    route: Route
    item: dict[str, Any]
    meta: dict[str, Any]
    tokens: int
    token_cap: int | None = None
    """The longest answer that its request allows, in tokens."""
    input: Any = None
    """The record itself, kept only for `--include input`."""
    keep_body: bool = False
    """Its line shows the provider's own answer."""
    intent_slot: int = -1
    """The number of its intent on disk, -1 without a results file."""
    redo: bool = False
    """The results file has a line for it, which a new one replaces."""
    worst_cost: float = 0.0
    """The most its request may cost, in US dollars, where `--max-cost` asks."""
    prior_cost: float | None = None
    """What its attempts in earlier runs cost, by the line that will be replaced."""
    prior_attempts: int = 0
    """Requests of earlier runs for the answer that it asks for again."""
    former_key: str | None = None
    """The key that its line would have in a file which was written when the service tier was a part of it."""
    attempts: Attempts = field(default_factory=Attempts)
    """What its attempts in this run did. Dispatch owns it."""

    @property
    def answer_key(self) -> str:
        """The key by which equal requests share an answer."""
        return answer_key(self.key, self.identity.sample) if self.identity.repeat else self.key
