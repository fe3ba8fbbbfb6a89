"""One record of the input: its identity, its request, and what its attempts have cost so far."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["ALONE", "Identity", "Job", "Route", "answer_key"]


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


ALONE = -1
"""The `pack_group` of jobs that share a request with no other."""
_ODD = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835


@dataclass(slots=True)
class Job:
    """One record that can be sent, and what has happened to it so far. It becomes one result line.

    `key` is the digest of the request as sent alone, `tokens` the estimated size of that request. Identity and request
    are set when the record is read. Later the packages that it passes fill in the rest: what earlier runs left of it,
    then, for each attempt, its counters, times and cost. `sent` counts its requests in this run; `unknown_outcomes` and
    `server_errors` are those of them whose outcome was not learned, `retries` counts what `--retries` bounds.
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
    cost: float | None = None
    """What its answered attempts in this run cost; None while that is unknown."""
    pack_group: int = 0
    """Only jobs of equal `pack_group` share a request, and those of `ALONE` none; set when a request is split."""
    unusable_answer: Any = None
    """A paid answer that is not usable, kept while another one is asked for."""
    possibly_billed: int = 0
    """Attempts, those of earlier runs too, whose outcome was never learned."""
    prior_attempts: int = 0
    """Requests of earlier runs for the answer that it asks for again."""
    sent: int = 0
    retries: int = 0
    unusable_answers: int = 0
    unknown_outcomes: int = 0
    server_errors: int = 0
    former_key: str | None = None
    """The key that its line would have in a file which was written when the service tier was a part of it."""
    batch: str | None = None
    """The provider's batch that serves it; empty while that is not made yet."""
    no_capacity: tuple[int, float] | None = None
    """How often its service tier had no room, and when that was so first, by the run's clock."""
    refused: tuple[int, int, int] | None = None
    """How often it was refused for pace, and the gate's counts of answers and refusals before the first time."""
    started: float = 0.0
    """Wall time of the last attempt."""
    latency: float = 0.0

    @property
    def answer_key(self) -> str:
        """The key by which equal requests share an answer."""
        return answer_key(self.key, self.identity.sample) if self.identity.repeat else self.key
