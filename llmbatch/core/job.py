"""One input record on its way: what identifies it, what it asks, and what its attempts have cost so far."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Identity", "Job", "Route"]


class Route(NamedTuple):
    """What shares one pace: the model, the path below the base URL it is asked at, the dialect spoken there."""

    path: str
    model: str
    dialect: str = "chat"


@dataclass(slots=True)
class Identity:
    """Which input record this is.

    `index` is its 0-based place in the input. The identity proper is `id` and `occurrence`, or, without an id,
    `record` (the digest of the record's fields) and `occurrence` (how many records before it had the same).
    """

    index: int
    id: str | int | None
    record: str
    occurrence: int = 0
    name: int = field(default=0, compare=False, repr=False)
    """64 bits for all of that, once somebody needed them."""


@dataclass(slots=True)
class Job:
    """One record, one result line. `tokens` is the estimate of what its request weighs.

    `key` is the digest of the request as sent alone. The counters: `sent` requests in all, of which
    `unknown_outcomes` and `server_errors` ended without a known outcome; `retries` counts what `--retries` bounds.
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
    """The whole record, kept only for `--include input`."""
    keep_body: bool = False
    """Its line shows the provider's own answer."""
    intent_slot: int = -1
    """Where its intent stands, -1 without a results file."""
    redo: bool = False
    """The results file has a line for it, which a new one replaces."""
    worst_cost: float = 0.0
    """The most its request may cost, in US dollars, where `--max-cost` asks."""
    prior_cost: float | None = None
    """What its attempts cost in earlier runs, as the line to be replaced has it."""
    cost: float | None = None
    """What its answered attempts of this run cost, None as long as that is not known."""
    pack_group: int = 0
    """Only jobs of equal `pack_group` share a request; dispatch sets it once one was split."""
    unusable_answer: Any = None
    """A paid answer that is no use, kept while another one is asked for."""
    possibly_billed: int = 0
    """Attempts, those of earlier runs too, whose outcome was never learned."""
    sent: int = 0
    retries: int = 0
    unusable_answers: int = 0
    unknown_outcomes: int = 0
    server_errors: int = 0
    refused: tuple[int, int, int] | None = None
    """How often it was refused for pace, and the gate's counts of answers and refusals before the first time."""
    started: float = 0.0
    """Wall time of the last attempt."""
    latency: float = 0.0
