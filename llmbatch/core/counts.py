"""The counts that a run and a report of results files have in common, for one model or for all."""

import math
from array import array
from collections.abc import Container, Iterable, Sized
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

__all__ = ["MOST_NAMES", "OTHER", "Counts", "counted_name", "latency_s", "percentiles"]

MOST_NAMES = 100
"""Models and kinds that are counted separately; a hostile input or file has a new one in every record."""

OTHER = "(other)"


@dataclass(slots=True)
class Counts:
    """Answers, attempts, cost and the latencies of last attempts."""

    ok: int = 0
    attempts: float = 0
    """Records that share a request have equal parts of it."""
    cost_usd: float | None = None
    latencies: "array[float]" = field(default_factory=lambda: array("f"))

    @property
    def requests(self) -> int:
        """Count the requests."""
        return round(self.attempts)

    def spend(self, cost: float) -> None:
        """Add a cost."""
        self.cost_usd = (self.cost_usd or 0.0) + cost

    def share(self, packed: int) -> None:
        """Count the last attempt of a record as its part of a request that served so many."""
        self.attempts -= 1 - 1 / packed

    def add_counts(self, other: "Counts") -> None:
        """Add the counts of another object to this one."""
        self.ok += other.ok
        self.attempts += other.attempts
        if other.cost_usd is not None:
            self.spend(other.cost_usd)
        self.latencies.extend(other.latencies)

    def latency_s(self) -> dict[str, float]:
        """Return exact percentiles in seconds; empty when there are none."""
        return latency_s(self.latencies)


class _Names(Sized, Container[str], Protocol):
    """Names that are counted already."""


def counted_name(name: str, known: _Names) -> str:
    """Return the name under which to count, that of all others once there are many."""
    return name if name in known or len(known) < MOST_NAMES else OTHER


def latency_s(*latencies: Iterable[float]) -> dict[str, float]:
    """Return exact percentiles of latencies in seconds; empty when there are none."""
    found = percentiles(chain.from_iterable(latencies), 50, 95, 99)
    return {name: round(seconds, 4) for name, seconds in zip(("p50", "p95", "p99"), found, strict=False)}


def percentiles(values: Iterable[float], *ranks: float) -> list[float]:
    """Return exact percentiles by nearest rank; empty when there are no values."""
    ordered = sorted(values)
    return [ordered[max(1, math.ceil(rank * len(ordered) / 100)) - 1] for rank in ranks] if ordered else []
