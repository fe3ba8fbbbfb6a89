"""The state of a run at one moment, and what keeps each route from sending more, for displays."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["BatchesState", "Cause", "ModelCounts", "RouteState", "Snapshot", "is_away"]


class Cause(StrEnum):
    """What keeps a route from sending more; the names that the summary uses."""

    NAMED_RATE = "named_rate"
    """`--rpm` or `--tpm`."""
    ANNOUNCED_RATE = "announced_rate"
    """A limit that the server announced in its headers."""
    LEARNED_RATE = "learned_rate"
    """A limit per minute that the server's refusals showed."""
    WALL = "wall"
    """The service as a whole refuses, or refused when more was in flight."""
    SCATTERED = "scattered_refusals"
    """Some requests are refused whatever the load is; only their own records wait."""
    OUTAGE = "outage"
    """The server cannot be reached, or keeps failing."""
    LOADING = "loading"
    """The server is not ready yet: `--wait-ready`."""
    LATENCY = "latency"
    """More in flight would only make answers slower."""
    CEILING = "ceiling"
    """`-c`, or `--max-concurrency`."""
    GROWING = "growing"
    """More may be in flight soon: the run is still finding out how much."""
    INPUT = "input"
    """Records arrive more slowly than they are answered."""


class RouteState(NamedTuple):
    """One route, at one server. `cause` is None while nothing limits it, as when its last requests are in flight.

    `rate` is the limit per minute, in `unit`, where the cause is one. `share` is the share of requests that were
    refused, where that does not hang on the load. Nothing is sent for another `closed_for` seconds; `reason` is the
    kind of fault that closed the route.
    """

    name: str
    in_flight: int
    allowed: int
    cause: Cause | None
    rate: float | None = None
    unit: str = "requests"
    share: float | None = None
    closed_for: float = 0.0
    reason: str | None = None


def is_away(routes: Iterable[RouteState]) -> bool:
    """Tell whether nothing can be sent because no server works."""
    causes = {route.cause for route in routes} - {None, Cause.INPUT}
    return bool(causes) and causes <= {Cause.OUTAGE, Cause.LOADING}


class ModelCounts(NamedTuple):
    """The records of one model that finished in this run."""

    name: str
    ok: int
    failed: int


class BatchesState(NamedTuple):
    """The batches at providers: how many run, with how many records, how many of those are answered, None if unknown.

    `age` is that of the oldest and `window` how long it may take, in seconds. `uploading` are on their way; `queued`
    wait for room in the queue of their model, the first of `model`. `trouble` is why the last call about one failed.
    """

    running: int
    records: int
    answered: int | None
    age: float
    window: float
    uploading: int = 0
    queued: int = 0
    model: str | None = None
    trouble: str | None = None


class Snapshot(NamedTuple):
    """Counts are of records: `ok` and `failed` those of this run, `waiting` those to be sent again later.

    `finished` counts the records of the input that are done, by earlier runs too, of `total`, and `fraction` is their
    share; `eta` are the seconds until the run ends; None when that cannot be known. The total is an estimate unless
    `total_is_exact`. `rate` is how many records a second finish at present, `latency` the median of the last answers
    in seconds. `limit` is how many requests may be in flight, `routes` say what keeps each route from sending more.
    `left` is what `--max-cost` leaves to spend.
    Nothing has finished for `stalled` seconds, which is set once that is long; `waits` says what the oldest wait for.
    When the run is `stopping`, nothing new is sent.
    """

    ok: int
    failed: int
    in_flight: int
    waiting: int
    limit: int
    wall: float
    rate: float
    fraction: float | None
    eta: float | None
    input_tokens: int
    output_tokens: int
    cost: float | None
    routes: Sequence[RouteState] = ()
    left: float | None = None
    stalled: float = 0.0
    waits: tuple[str, ...] = ()
    stopping: bool = False
    finished: int = 0
    total: int | None = None
    total_is_exact: bool = False
    latency: float | None = None
    models: Sequence[ModelCounts] = ()
    failed_by_kind: Mapping[str, int] = MappingProxyType({})
    batches: BatchesState | None = None

    @property
    def done(self) -> int:
        """Count the records that finished in this run."""
        return self.ok + self.failed

    @property
    def mean_rate(self) -> float:
        """Return how many records a second finished since the run began."""
        return self.done / self.wall if self.wall > 0 else 0.0

    @property
    def closed_for(self) -> float:
        """Return for how many more seconds a route is closed."""
        return max((route.closed_for for route in self.routes), default=0.0)
