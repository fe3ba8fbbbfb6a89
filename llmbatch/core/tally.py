"""The running count of a run, and its frozen end."""

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from llmbatch.core.events import Event, Finished, Held, Retrying
from llmbatch.core.fault import Billing, Fault
from llmbatch.core.outcome import Completion, Outcome, Refused
from llmbatch.core.usage import Usage

__all__ = ["Summary", "Tally"]


@dataclass(slots=True)
class Tally:
    """Folds events; an observer. Counts what is written, never what is only received."""

    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Failed records by kind."""
    billed_failures: int = 0
    possibly_billed: int = 0
    requests: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    waited: float = 0.0
    """Seconds for which a route was held by limits."""
    latencies: "array[float]" = field(default_factory=lambda: array("f"))

    def __call__(self, event: Event) -> None:
        """Fold one event in."""
        if isinstance(event, Finished):
            for outcome in event.outcomes:
                self.add(outcome)
        elif isinstance(event, Retrying):
            self.retries += 1
            self._use(event.fault.usage)
        elif isinstance(event, Held):
            self.retries += 1
            self.waited += event.added

    @property
    def done(self) -> int:
        """Count the records that have a line."""
        return self.ok + sum(self.failed.values())

    def add(self, outcome: Outcome | Refused) -> None:
        """Count one line."""
        if isinstance(outcome, Refused):
            self.failed[outcome.fault.kind] += 1
            return
        job, verdict = outcome.job, outcome.verdict
        self.requests += job.sent
        self.possibly_billed += job.possibly_billed
        self.latencies.append(job.latency)
        if job.cost is not None:
            self.cost = (self.cost or 0.0) + job.cost
        self._use(verdict.usage)
        if isinstance(verdict, Completion):
            self.ok += 1
        else:
            self._add_failure(verdict)

    def _use(self, usage: Usage | None) -> None:
        if usage is not None:
            self.input_tokens += usage.input_tokens or 0
            self.output_tokens += usage.output_tokens or 0

    def _add_failure(self, fault: Fault) -> None:
        self.failed[fault.kind] += 1
        if fault.billing is Billing.BILLED:
            self.billed_failures += 1

    def percentiles(self, *ranks: float) -> list[float]:
        """Return exact percentiles of the latencies in seconds, by nearest rank; empty when there are none."""
        if not self.latencies:
            return []
        ordered = sorted(self.latencies)
        return [ordered[max(1, math.ceil(rank * len(ordered) / 100)) - 1] for rank in ranks]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a run ended.

    `read` = `ok` + `failed` + `done_before` + `failed_before` + `held` + `unwritten` + `not_started`, asserted by the
    run itself. `orphans` are lines of the results file without a record in the input.
    """

    read: int
    ok: int
    failed: dict[str, int]
    done_before: int = 0
    failed_before: int = 0
    held: int = 0
    orphans: int = 0
    not_started: int
    unwritten: int
    requests: int
    retries: int
    possibly_billed: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    wall_s: float
    waited_s: float
    latency_s: dict[str, float]
    stopped: str | None
    hint: str | None
    exit_code: int

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        rate = self.ok / self.wall_s if self.wall_s > 0 else 0.0
        return {
            "records": self.read,
            "ok": self.ok,
            "failed": sum(self.failed.values()),
            "failures": dict(self.failed),
            "done_before": self.done_before,
            "failed_before": self.failed_before,
            "held": self.held,
            "orphans": self.orphans,
            "not_started": self.not_started,
            "unwritten": self.unwritten,
            "requests": self.requests,
            "retries": self.retries,
            "possibly_billed": self.possibly_billed,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": round(self.cost_usd, 9) if self.cost_usd is not None else None,
            "wall_s": round(self.wall_s, 3),
            "waited_s": round(self.waited_s, 3),
            "records_per_s": round(rate, 1),
            "latency_s": self.latency_s,
            "stopped": self.stopped,
            "exit_code": self.exit_code,
        }
