"""Adds up the state of all parts at one moment, for displays that show one run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from llmbatch.core.snapshot import ModelCounts, Snapshot
from llmbatch.core.tally import Summary
from llmbatch.parts.plan import Plan

__all__ = ["Progress"]


class Progress:
    """What is done and what is under way. Read from the thread of the display while others write.

    The total is an estimate until each part was begun.
    """

    def __init__(self, plan: Plan) -> None:
        self._began = monotonic()
        self._totals = {number: part.records for number, part in enumerate(plan.parts)}
        self._guessed = set(self._totals)
        """Parts of which the number of records is an estimate."""
        self._finished = self._ok = self._failed = 0
        self._input_tokens = self._output_tokens = 0
        self._cost: float | None = None
        self._models: dict[str, tuple[int, int]] = {}
        self._at_work: dict[int, Callable[[], Snapshot]] = {}

    def limit_to(self, numbers: range) -> None:
        """Leave out the parts that are not this command's."""
        self._totals = {number: self._totals[number] for number in numbers}
        self._guessed &= set(numbers)

    def skip(self, number: int, records: int) -> None:
        """Note a part that was complete before."""
        self._know(number, records)
        self._finished += records

    def end(self, number: int, summary: Summary) -> None:
        """Note what the work on a part has come to."""
        self._at_work.pop(number, None)
        failed = sum(summary.failed.values())
        self._know(number, max(self._totals[number] if summary.stopped is not None else 0, summary.read))
        self._finished += summary.ok + failed + summary.done_before + summary.failed_before
        self._ok += summary.ok
        self._failed += failed
        self._input_tokens += summary.input_tokens
        self._output_tokens += summary.output_tokens
        if summary.cost_usd is not None:
            self._cost = (self._cost or 0.0) + summary.cost_usd
        for name, tally in summary.models.items():
            ok, bad = self._models.get(name, (0, 0))
            self._models[name] = ok + tally.ok, bad + tally.failed

    @contextmanager
    def watching(self, number: int, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        """Include the state of a part while the context lasts."""
        self._at_work[number] = snapshot
        try:
            yield
        finally:
            self._at_work.pop(number, None)

    def show(self, number: int, now: Snapshot) -> None:
        """Include the state of a part that another process works on."""
        self._at_work[number] = lambda: now

    def snapshot(self) -> Snapshot:
        """Return the state of the run."""
        parts = {number: take() for number, take in [*self._at_work.items()]}
        states = list(parts.values())
        totals = dict(self._totals)
        for number, state in parts.items():
            if state.total is not None:
                totals[number] = state.total
        exact = {number for number, state in parts.items() if state.total_is_exact}
        total, finished = sum(totals.values()), self._finished + sum(state.finished for state in states)
        total = max(total, finished)
        rate = sum(state.rate for state in states)
        costs = [cost for cost in (self._cost, *(state.cost for state in states)) if cost is not None]
        lefts = [state.left for state in states if state.left is not None]
        latencies = sorted(state.latency for state in states if state.latency is not None)
        stopping = any(state.stopping for state in states)
        in_flight = sum(state.in_flight for state in states)
        open_records = in_flight if stopping else total - finished
        return Snapshot(
            ok=self._ok + sum(state.ok for state in states),
            failed=self._failed + sum(state.failed for state in states),
            in_flight=in_flight,
            waiting=sum(state.waiting for state in states),
            limit=sum(state.limit for state in states),
            wall=monotonic() - self._began,
            rate=rate,
            fraction=finished / total if total else None,
            eta=open_records / rate if rate else None,
            input_tokens=self._input_tokens + sum(state.input_tokens for state in states),
            output_tokens=self._output_tokens + sum(state.output_tokens for state in states),
            cost=sum(costs) if costs else None,
            routes=tuple(route for state in states for route in state.routes),
            left=min(lefts, default=None),
            stalled=min((state.stalled for state in states), default=0.0),
            waits=tuple(words for state in states for words in state.waits)
            if states and all(state.waits for state in states)
            else (),
            stopping=stopping,
            finished=finished,
            total=total,
            total_is_exact=not self._guessed - exact,
            latency=latencies[len(latencies) // 2] if latencies else None,
            models=self._model_counts(states),
            batches=next((state.batches for state in states if state.batches is not None), None),
        )

    def _know(self, number: int, records: int) -> None:
        self._totals[number] = records
        self._guessed.discard(number)

    def _model_counts(self, states: list[Snapshot]) -> list[ModelCounts]:
        models = dict(self._models)
        for state in states:
            for name, ok, failed in state.models:
                before = models.get(name, (0, 0))
                models[name] = before[0] + ok, before[1] + failed
        return [ModelCounts(name, ok, failed) for name, (ok, failed) in models.items()]
