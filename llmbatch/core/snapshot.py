"""Where a run stands at one moment, for displays."""

from typing import NamedTuple

__all__ = ["Snapshot"]


class Snapshot(NamedTuple):
    """Counts are of records; `fraction` is how much of the input is done, None when that cannot be known.

    `limit` is how many requests may be in flight and `why` what moved it last.
    `held` is why a route waits, `held_for` for how many more seconds.
    `left` is what `--max-cost` leaves to spend.
    `stalled` is for how many seconds nothing has finished, once that is long, and `waits` for what the oldest wait.
    """

    ok: int
    failed: int
    in_flight: int
    waiting: int
    limit: int
    why: str
    wall: float
    fraction: float | None
    input_tokens: int
    output_tokens: int
    cost: float | None
    held: str | None
    held_for: float
    left: float | None = None
    stalled: float = 0.0
    waits: tuple[str, ...] = ()
