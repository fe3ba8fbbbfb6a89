"""Counts what a run has written so far; its final counts are the summary."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from llmbatch.core.counts import Counts, counted_name, latency_s, percentiles
from llmbatch.core.events import Event, Finished, Retrying
from llmbatch.core.fault import Billing, Fault
from llmbatch.core.job import Identity
from llmbatch.core.outcome import Completion, InvalidRecord, Outcome
from llmbatch.core.usage import Usage

__all__ = ["FailureExample", "ModelTally", "PartCounts", "ServerTraffic", "Summary", "Tally"]


RECENT = 100
"""Answers of each model whose latency is the present one."""


@dataclass(slots=True)
class ModelTally(Counts):
    """The counts of one model, by the name that requests gave it."""

    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0

    def include(self, other: "ModelTally") -> None:
        """Add the counts of another object to this one."""
        self.add_counts(other)
        self.failed += other.failed
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cached_input_tokens += other.cached_input_tokens
        self.cache_write_tokens += other.cache_write_tokens

    def use(self, usage: Usage | None) -> None:
        """Count the tokens of an answer."""
        if usage is not None:
            self.input_tokens += usage.input_tokens or 0
            self.output_tokens += usage.output_tokens or 0
            if usage.cached_input_tokens:
                self.cached_input_tokens += usage.cached_input_tokens
            if usage.cache_write_tokens:
                self.cache_write_tokens += usage.cache_write_tokens

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "ok": self.ok,
            "failed": self.failed,
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "cost_usd": round(self.cost_usd, 9) if self.cost_usd is not None else None,
            "latency_s": self.latency_s(),
        }


@dataclass(frozen=True, slots=True)
class FailureExample:
    """One failed record of a kind: the first. `message` is the server's, where it is not ours: it may quote a key."""

    id: str | int | None
    index: int
    status: int | None
    message: str


class Tally:
    """Folds events; an observer. Counts what is written, never what is only received."""

    def __init__(self) -> None:
        self.models: dict[str, ModelTally] = {}
        self.failed: Counter[str] = Counter()
        """Failed records by kind."""
        self.examples: dict[str, FailureExample] = {}
        """The first failed record of each kind."""
        self.billed_failures = 0
        self.possibly_billed = 0
        self.collected = 0
        """Records that rows of batches answered or failed."""

    def __call__(self, event: Event) -> None:
        """Fold one event in."""
        if isinstance(event, Finished):
            for outcome in event.outcomes:
                self.add(outcome)
        elif isinstance(event, Retrying):
            self._share(event.job.route.model).use(event.fault.usage)

    @property
    def ok(self) -> int:
        """Count the records that have an answer."""
        return sum(share.ok for share in self.models.values())

    @property
    def done(self) -> int:
        """Count the records that have a line."""
        return self.ok + sum(self.failed.values())

    @property
    def requests(self) -> int:
        """Count the attempts."""
        return sum(share.requests for share in self.models.values())

    @property
    def input_tokens(self) -> int:
        """Count the tokens in."""
        return sum(share.input_tokens for share in self.models.values())

    @property
    def output_tokens(self) -> int:
        """Count the tokens out."""
        return sum(share.output_tokens for share in self.models.values())

    @property
    def cached_input_tokens(self) -> int:
        """Count the tokens in that came from the provider's prompt cache."""
        return sum(share.cached_input_tokens for share in self.models.values())

    @property
    def cost(self) -> float | None:
        """Add up the costs that are known; None when none is."""
        costs = [share.cost_usd for share in self.models.values() if share.cost_usd is not None]
        return sum(costs) if costs else None

    def add(self, outcome: Outcome | InvalidRecord) -> None:
        """Count one line."""
        if isinstance(outcome, InvalidRecord):
            self._add_failure(outcome.fault, outcome.identity)
            return
        job, verdict = outcome.job, outcome.verdict
        attempts = job.attempts
        share = self.models.get(job.route.model) or self._share(job.route.model)
        share.attempts += attempts.sent
        if attempts.batch:
            self.collected += 1
        elif attempts.latency:  # a copy has no time of its own
            share.latencies.append(attempts.latency)
        if attempts.cost is not None:
            share.spend(attempts.cost)
        self.possibly_billed += attempts.possibly_billed
        share.use(verdict.usage)
        if isinstance(verdict, Completion):
            share.ok += 1
            if "packed" in verdict.extra:
                share.share(verdict.extra["packed"])
        else:
            share.failed += 1
            self._add_failure(verdict, job.identity)

    def _share(self, model: str) -> ModelTally:
        share = self.models.get(model)
        if share is None:
            share = self.models.setdefault(counted_name(model, self.models), ModelTally())
        return share

    def _add_failure(self, fault: Fault, identity: Identity) -> None:
        self.failed[fault.kind] += 1
        if fault.kind not in self.examples:
            self.examples[fault.kind] = FailureExample(identity.id, identity.index, fault.status, fault.message)
        if fault.billing is Billing.BILLED:
            self.billed_failures += 1

    def recent_latency(self) -> float | None:
        """Return the median of the last answers' latencies in seconds, None before there is one."""
        last = chain.from_iterable(share.latencies[-RECENT:] for share in [*self.models.values()])
        return next(iter(percentiles(last, 50)), None)

    def latency_s(self) -> dict[str, float]:
        """Return exact percentiles of all latencies."""
        return latency_s(*(share.latencies for share in self.models.values()))


class ServerTraffic(NamedTuple):
    """The requests to one of several servers: all, those answered, those refused for pace or overload."""

    url: str
    requests: int
    answered: int
    refused: int


class PartCounts(NamedTuple):
    """The parts of a run: those that are complete, those with work left, of them those that other runs work on."""

    complete: int
    unfinished: int
    busy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a run ended.

    `read` + `others` = `ok` + `failed` + `done_before` + `failed_before` + `held` + `pending` + `dropped` + `unwritten`
    + `not_started`, asserted by the run itself. `held` and `dropped` are in doubt: the latter were in flight when the
    run was ended. `pending` are in batches at a provider, `others` are lines of batches for records that this input
    lacks.
    `models` are the counts of each model that was asked, `servers` those of each server where there are several,
    `orphans` lines of the results file without a record in the input.
    """

    read: int
    read_whole: bool = True
    """Whether that is all of the input, as far as is known: a run that stops leaves the rest unread."""
    ok: int
    failed: dict[str, int]
    examples: dict[str, FailureExample] = field(default_factory=dict)
    """The first failed record of each kind."""
    done_before: int = 0
    failed_before: int = 0
    held: int = 0
    pending: int = 0
    collected: int = 0
    """Of those that were answered or failed, how many by rows of batches."""
    others: int = 0
    dropped: int = 0
    orphans: int = 0
    not_started: int
    unwritten: int
    requests: int
    retries: int
    possibly_billed: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cost_usd: float | None
    cache_saved_usd: float | None = None
    """What the tokens from the provider's cache would have cost more; None while that is not known."""
    models: dict[str, ModelTally] = field(default_factory=dict)
    servers: list[ServerTraffic] = field(default_factory=list)
    wall_s: float
    waited_s: float
    """Seconds in which a route was closed because its server refused or was not there."""
    limited_by: dict[str, float] = field(default_factory=dict)
    """The share of the time for each cause that limited the run."""
    latency_s: dict[str, float]
    stopped: str | None
    stopped_by: str | None = None
    """The cause in a word, as `LlmbatchError.by` has it."""
    hint: str | None
    exit_code: int
    parts: "PartCounts | None" = None
    """In a run of parts, how many there are."""

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        rate = self.ok / self.wall_s if self.wall_s > 0 else 0.0
        return {
            "records": self.read,
            "ok": self.ok,
            "failed": sum(self.failed.values()),
            "failures": dict(self.failed),
            "failure_examples": {kind: asdict(example) for kind, example in self.examples.items()},
            "done_before": self.done_before,
            "failed_before": self.failed_before,
            "held": self.held,
            "pending": self.pending,
            "collected": self.collected,
            "dropped": self.dropped,
            "orphans": self.orphans,
            "not_started": self.not_started,
            "unwritten": self.unwritten,
            "requests": self.requests,
            "retries": self.retries,
            "possibly_billed": self.possibly_billed,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "cost_usd": round(self.cost_usd, 9) if self.cost_usd is not None else None,
            "cache_saved_usd": round(self.cache_saved_usd, 9) if self.cache_saved_usd is not None else None,
            "models": {name: share.as_json() for name, share in self.models.items()},
            "endpoints": [traffic._asdict() for traffic in self.servers],
            "wall_s": round(self.wall_s, 3),
            "waited_s": round(self.waited_s, 3),
            "limited_by": self.limited_by,
            "records_per_s": round(rate, 1),
            "latency_s": self.latency_s,
            "stopped": self.stopped,
            "stopped_by": self.stopped_by,
            "exit_code": self.exit_code,
            **({"parts": self.parts._asdict()} if self.parts is not None else {}),
        }
