"""Collects examples from results for a report: failures, sample answers, the slowest, and a timeline."""

import heapq
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from llmbatch.core.counts import MOST_NAMES, OTHER
from llmbatch.results.stats import amount, unix_time

__all__ = ["Bin", "Example", "Highlights", "answer_text"]

FAILURES = 5
"""Examples of each kind of failure."""
ANSWERS = 20
"""Sample answers."""
SLOWEST = 10


@dataclass(frozen=True, slots=True)
class Example:
    """A result line, as much of it as is shown. `latency` is in seconds, `text` the answer or the error."""

    id: str | int | None
    index: int | None
    model: str | None
    text: str
    latency: float | None
    cost: float | None


class Bin(NamedTuple):
    """What happened in one part of a run's time: records that ended, and the mean number of requests in flight."""

    ok: int
    failed: int
    in_flight: float


class Highlights:
    """Collects them from lines one by one; the lines themselves are not kept. Nothing in a line is trusted."""

    def __init__(self) -> None:
        self.failures: dict[str, list[Example]] = {}
        """By kind, in the order in which the kinds appeared."""
        self.answers: list[Example] = []
        self._slowest: list[tuple[float, int, Example]] = []
        self._order = count()
        self._began, self._took, self._ok = array("d"), array("f"), array("b")

    def add(self, line: dict[str, Any]) -> None:
        """Look at one result line."""
        fine = line["status"] == "ok"
        if fine and len(self.answers) < ANSWERS:
            self.answers.append(_example(line, answer_text(line)))
        if not fine:
            self._add_failure(line)
        latency, began = amount(line.get("latency_s")), unix_time(line.get("started_at"))
        if latency is None or began is None or line.get("batch"):
            return
        self._began.append(began)
        self._took.append(latency)
        self._ok.append(fine)
        if len(self._slowest) < SLOWEST or latency > self._slowest[0][0]:
            place = (latency, -next(self._order), _example(line, answer_text(line) if fine else _message(line)))
            (heapq.heappush if len(self._slowest) < SLOWEST else heapq.heapreplace)(self._slowest, place)

    @property
    def slowest(self) -> list[Example]:
        """Return the records whose last attempt took longest, the slowest first."""
        return [example for _, _, example in sorted(self._slowest, reverse=True)]

    @property
    def span(self) -> tuple[float, float] | None:
        """Return when the first attempt began and the last one ended, in Unix seconds; None without any."""
        if not self._began:
            return None
        return min(self._began), max(map(sum, zip(self._began, self._took, strict=True)))

    def timeline(self, bins: int) -> list[Bin]:
        """Cut the time of the run into `bins` parts; empty when there is no time to cut."""
        span = self.span
        if span is None or span[1] - span[0] <= 0:
            return []
        first, width = span[0], (span[1] - span[0]) / bins
        ended: Counter[tuple[int, int]] = Counter()
        in_flight = [0.0] * (bins + 1)
        for began, took, ok in zip(self._began, self._took, self._ok, strict=True):
            start, end = (began - first) / width, min(float(bins), (began + took - first) / width)
            ended[min(bins - 1, int(end)), ok] += 1
            for place, part in _parts(start, end, bins):
                in_flight[place] += part
        return [Bin(ended[place, 1], ended[place, 0], in_flight[place]) for place in range(bins)]

    def _add_failure(self, line: dict[str, Any]) -> None:
        error = line.get("error")
        kind = error.get("kind") if isinstance(error, dict) else None
        name = kind if isinstance(kind, str) else "(none)"
        if name not in self.failures and len(self.failures) >= MOST_NAMES:
            name = OTHER
        examples = self.failures.setdefault(name, [])
        if len(examples) < FAILURES:
            examples.append(_example(line, _message(line)))


def answer_text(line: dict[str, Any]) -> str:
    """Return what a line answers, as text: its text, else its JSON, its calls of tools, its refusal."""
    for name in ("text", "json", "tool_calls", "refusal"):
        value = line.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            return str(value)
    return ""


def _message(line: dict[str, Any]) -> str:
    error = line.get("error")
    if not isinstance(error, dict):
        return ""
    status = f"HTTP {error['status']}: " if isinstance(error.get("status"), int) else ""
    return f"{status}{error.get('message') or ''}"


SHOWN = 2000
"""Characters kept of a text."""


def _example(line: dict[str, Any], text: str) -> Example:
    id, index, model = line.get("id"), line.get("index"), line.get("model")
    return Example(
        id if isinstance(id, str | int) else None,
        index if isinstance(index, int) else None,
        model if isinstance(model, str) else None,
        text if len(text) <= SHOWN else f"{text[:SHOWN]}…",
        amount(line.get("latency_s")),
        amount(line.get("cost_usd")),
    )


def _parts(start: float, end: float, bins: int) -> Iterator[tuple[int, float]]:
    """Yield each bin that a request was in flight in, and for which part of it."""
    first, last = int(start), min(bins - 1, int(end))
    if first >= last:
        yield last, end - start
        return
    yield first, first + 1 - start
    for place in range(first + 1, last):
        yield place, 1.0
    yield last, end - last
