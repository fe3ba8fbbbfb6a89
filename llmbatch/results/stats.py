"""Adds up result lines. They come from files, so no field is trusted to have the right type."""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from llmbatch.core.counts import Counts, counted_name
from llmbatch.core.tally import FailureExample

__all__ = ["Stats", "StatsByModel", "amount", "unix_time"]

_TOKENS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(slots=True)
class Stats(Counts):
    """The lines of one model, or of all."""

    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, FailureExample] = field(default_factory=dict)
    """The first failed record of each kind; none of what was counted elsewhere, as in complete parts."""
    billed_failures: int = 0
    possibly_billed: int = 0
    sent_again: int = 0
    reused: int = 0
    deduplicated: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    priced: int = 0
    """Lines that have a cost."""
    unpriced: int = 0
    """Answers that were paid by this file and have no cost."""
    first_started_at: str | None = None
    last_started_at: str | None = None
    began: float = math.inf
    """When the first attempt began, in Unix seconds; infinite without any."""
    ended: float = -math.inf
    """When the last attempt ended."""

    @property
    def failed(self) -> int:
        """Count the failed lines."""
        return self.failures.total()

    @property
    def records(self) -> int:
        """Count the lines."""
        return self.ok + self.failed

    @property
    def elapsed_s(self) -> float | None:
        """Return the seconds from the first request to the last answer; None where that is no time."""
        return round(self.ended - self.began, 3) if self.ended > self.began else None

    @property
    def records_per_s(self) -> float | None:
        """Return the records in a second of that time."""
        return round(self.records / self.elapsed_s, 3) if self.elapsed_s else None

    def add(self, line: dict[str, Any]) -> None:
        """Count one result line."""
        if line["status"] == "ok":
            self.ok += 1
        else:
            error = line.get("error")
            kind = error.get("kind") if isinstance(error, dict) else None
            name = counted_name(kind if isinstance(kind, str) else "(none)", self.failures)
            self.failures[name] += 1
            if name not in self.examples:
                self.examples[name] = _failure_example(line)
            self.billed_failures += line.get("billed") is True
        attempts = _count(line.get("attempts"))
        self.attempts += attempts
        packed = _count(line.get("packed"))
        if packed > 1:
            self.share(packed)
        self.sent_again += max(0, attempts - 1)
        self.possibly_billed += _count(line.get("possibly_billed"))
        self.reused += bool(line.get("reused"))
        self.deduplicated += bool(line.get("deduplicated"))
        usage = line.get("usage")
        if isinstance(usage, dict):
            for name in _TOKENS:
                self.tokens[name] += _count(usage.get(name))
        cost = amount(line.get("cost_usd"))
        if cost is not None:
            self.spend(cost)
            self.priced += 1
        elif line["status"] == "ok" and not line.get("reused") and not line.get("deduplicated"):
            self.unpriced += 1
        latency = amount(line.get("latency_s"))
        if latency is not None and attempts and not line.get("batch"):
            self.latencies.append(latency)
        started = line.get("started_at")
        if isinstance(started, str) and len(started) == 24:
            self._note(started, started)
        began = unix_time(started)
        if began is not None and latency is not None:
            self.began, self.ended = min(self.began, began), max(self.ended, began + latency)

    def include(self, other: "Stats") -> None:
        """Add the counts of another object to this one."""
        self.add_counts(other)
        for kind, count in other.failures.items():
            self.failures[counted_name(kind, self.failures)] += count
        self.examples = other.examples | self.examples
        self.billed_failures += other.billed_failures
        self.possibly_billed += other.possibly_billed
        self.sent_again += other.sent_again
        self.reused += other.reused
        self.deduplicated += other.deduplicated
        self.tokens.update(other.tokens)
        self.priced += other.priced
        self.unpriced += other.unpriced
        if other.first_started_at is not None and other.last_started_at is not None:
            self._note(other.first_started_at, other.last_started_at)
        self.began, self.ended = min(self.began, other.began), max(self.ended, other.ended)

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values, under the names that the summary of a run has."""
        return {
            "records": self.records,
            "ok": self.ok,
            "failed": self.failed,
            "failures": dict(self.failures.most_common()),
            "requests": self.requests,
            "retries": self.sent_again,
            "possibly_billed": self.possibly_billed,
            "billed_failures": self.billed_failures,
            "reused": self.reused,
            "deduplicated": self.deduplicated,
            **{name: self.tokens[name] for name in _TOKENS},
            "cost_usd": self.cost_usd,
            "priced": self.priced,
            "unpriced": self.unpriced,
            "latency_s": self.latency_s(),
            "first_started_at": self.first_started_at,
            "last_started_at": self.last_started_at,
            "elapsed_s": self.elapsed_s,
            "records_per_s": self.records_per_s,
        }

    def _note(self, first: str, last: str) -> None:
        """Extend the time in which attempts began. UTC times of one width sort as text."""
        self.first_started_at = min(self.first_started_at or first, first)
        self.last_started_at = max(self.last_started_at or last, last)


class StatsByModel:
    """The counts of all lines, by the model that answered; None for lines without a model.

    A failed line has the model that was asked. Where that is an alias of one that answered, they are one model.
    """

    def __init__(self) -> None:
        self.files = 0
        self.models: dict[str | None, Stats] = {}

    def add(self, line: dict[str, Any]) -> None:
        """Count one result line."""
        model = line.get("model")
        name = counted_name(model, self.models) if isinstance(model, str) else None
        account = self.models.get(name)
        if account is None:
            account = self.models[name] = Stats()
        account.add(line)

    def include(self, other: "StatsByModel") -> None:
        """Add the counts of other files."""
        self.files += other.files
        for name, account in other.models.items():
            named = None if name is None else counted_name(name, self.models)
            self.models.setdefault(named, Stats()).include(account)

    def total(self) -> Stats:
        """Return the counts of all lines."""
        total = Stats()
        for account in self.models.values():
            total.include(account)
        return total

    def by_model(self) -> list[tuple[str, Stats]]:
        """Return the counts of each model, the busiest first; those of lines without a model at the end."""
        unnamed = self.models.get(None)
        return list(chain(self.named().items(), [] if unnamed is None else [("(none)", unnamed)]))

    def named(self) -> dict[str, Stats]:
        """Return the models, each alias that only failed joined to the one dated model behind it that answered."""
        named = {name: account for name, account in self.models.items() if name is not None}
        answered = [name for name, account in named.items() if account.ok]
        for alias in [name for name, account in named.items() if not account.ok]:
            dated = [name for name in answered if _is_dated(name, alias)]
            if len(dated) == 1:
                joined = Stats()
                joined.include(named[dated[0]])
                joined.include(named.pop(alias))
                named[dated[0]] = joined
        return dict(sorted(named.items(), key=lambda pair: (-pair[1].records, pair[0])))

    def as_json(self) -> dict[str, Any]:
        """Return all counts as plain values. Lines without a model are in the total only."""
        models = {name: account.as_json() for name, account in self.named().items()}
        return {"files": self.files, **self.total().as_json(), "models": models}


def _is_dated(name: str, alias: str) -> bool:
    """Say whether a name of a model is an alias with a date: `m-2026-05-01`, `m-20260501` or `m-0501` of `m`."""
    stem = alias.removesuffix("-latest")
    return name.startswith(stem) and re.fullmatch(r"[-@][0-9][0-9-]{2,}", name[len(stem) :]) is not None


def _failure_example(line: dict[str, Any]) -> FailureExample:
    id, error = line.get("id"), line.get("error")
    said = error if isinstance(error, dict) else {}
    return FailureExample(
        id=id if isinstance(id, str | int) else None,
        index=_count(line.get("index")),
        status=_count(said.get("status")) or None,
        message=str(said.get("message") or "")[:_LONGEST],
    )


_LONGEST = 1000
"""Characters kept of a message."""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def amount(value: Any) -> float | None:
    """Return a number of dollars or seconds, None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        return None
    return float(value)


def unix_time(stamp: Any) -> float | None:
    """Return the Unix seconds of a time in ISO format with a zone, None for any other value."""
    if not isinstance(stamp, str):
        return None
    try:
        when = datetime.fromisoformat(stamp)
        return when.timestamp() if when.tzinfo is not None else None
    except (ValueError, OverflowError, OSError):
        return None
