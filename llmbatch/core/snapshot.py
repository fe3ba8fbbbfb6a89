"""Where a run stands at one moment, for displays."""

from typing import NamedTuple

__all__ = ["Snapshot"]


class Snapshot(NamedTuple):
    """Counts are of records; `fraction` is how much of the input was read, None when that cannot be known.

    `held` is why a route waits, `held_for` for how many more seconds.
    """

    ok: int
    failed: int
    in_flight: int
    waiting: int
    limit: int
    wall: float
    fraction: float | None
    input_tokens: int
    output_tokens: int
    cost: float | None
    held: str | None
    held_for: float
