"""Adds up what became of the parts of a run: one summary, one exit code. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmbatch.app.summary import worst
from llmbatch.core.counts import latency_s
from llmbatch.core.errors import ExitCode, LlmbatchError
from llmbatch.core.plural import counted
from llmbatch.core.settings import Tolerance
from llmbatch.core.tally import ModelTally, PartCounts, ServerTraffic, Summary

__all__ = ["Account"]

_SUMS = (
    *("read", "ok", "done_before", "failed_before", "held", "pending", "others", "dropped", "orphans"),
    *("collected", "not_started", "unwritten", "requests", "retries", "possibly_billed"),
    *("input_tokens", "output_tokens", "cached_input_tokens"),
)


class Account:
    """The account of the parts that one command is asked to work on."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._sums: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._examples: dict[str, Any] = {}
        self._models: dict[str, ModelTally] = {}
        self._servers: dict[str, ServerTraffic] = {}
        self._limits: Counter[str] = Counter()
        self._waited = self._busy_s = 0.0
        self._cost: float | None = None
        self._codes: list[int] = []
        self._reasons: dict[int, tuple[str, str, str | None]] = {}
        """By exit code, the first reason to stop: its message, its cause in a word, its hint."""
        self.complete = 0
        self.busy = 0
        """Parts that other runs work on."""

    @property
    def records(self) -> int:
        """Count the records of the parts that are accounted for."""
        return self._sums["read"]

    @property
    def failed(self) -> int:
        """Count the records that failed, now or before."""
        return self._failed.total() + self._sums["failed_before"]

    @property
    def is_stopped(self) -> bool:
        """Whether no further part should be begun: something stopped one that others would meet as well."""
        return bool(self._reasons)

    def skip(self, fields: Mapping[str, Any]) -> None:
        """Count a part that was complete before, by its summary."""
        self.complete += 1
        self._sums.update(read=fields["records"], done_before=fields["ok"], failed_before=fields["failed"])

    def add(self, summary: Summary) -> None:
        """Count what a run on one part did."""
        self._sums.update({name: getattr(summary, name) for name in _SUMS})
        self._failed.update(summary.failed)
        for kind, example in summary.examples.items():
            self._examples.setdefault(kind, example)
        for name, tally in summary.models.items():
            self._models.setdefault(name, ModelTally()).include(tally)
        for url, *counts in summary.servers:
            before = self._servers.get(url, ServerTraffic(url, 0, 0, 0))
            self._servers[url] = ServerTraffic(url, *(a + b for a, b in zip(before[1:], counts, strict=True)))
        self._limits.update({cause: round(share * summary.wall_s * 1e6) for cause, share in summary.limited_by.items()})
        self._waited += summary.waited_s
        self._busy_s += summary.wall_s
        if summary.cost_usd is not None:
            self._cost = (self._cost or 0.0) + summary.cost_usd
        self._codes.append(summary.exit_code)
        if summary.stopped is not None:
            reason = (summary.stopped, summary.stopped_by or "bug", summary.hint)
            self._reasons.setdefault(summary.exit_code, reason)
        elif summary.exit_code in (ExitCode.OK, ExitCode.FAILURES):
            self.complete += 1

    def stop(self, error: LlmbatchError) -> None:
        """Note why no further part is begun."""
        self._codes.append(error.exit_code)
        self._reasons.setdefault(error.exit_code, (error.message, error.by, error.hint))

    def summary(self, *, wall_s: float, fail_on: Tolerance) -> Summary:
        """Return the summary of all of it, with the worst exit code."""
        codes = [code for code in self._codes if code not in (ExitCode.OK, ExitCode.FAILURES)]
        unfinished = self._parts - self.complete
        if codes:
            code = worst(codes)
        elif self.busy:
            code = ExitCode.BUSY
        else:
            code = ExitCode.FAILURES if fail_on.exceeded(self.failed, self.records) else ExitCode.OK
        reason = self._reasons.get(code, (None, None, None))
        if reason[0] is None and code == ExitCode.BUSY:
            reason = (f"other runs work on {counted(self.busy, 'part')}", "busy", "Wait for them to end.")
        fraction = 1e6 * max(self._busy_s, 1e-9)
        return Summary(
            **{name: self._sums[name] for name in _SUMS},
            read_whole=True,
            failed=dict(self._failed),
            examples=self._examples,
            cost_usd=self._cost,
            models=self._models,
            servers=list(self._servers.values()),
            wall_s=wall_s,
            waited_s=min(self._waited, wall_s),
            limited_by={cause: round(part / fraction, 4) for cause, part in self._limits.most_common()},
            latency_s=latency_s(*(tally.latencies for tally in self._models.values())),
            stopped=reason[0],
            stopped_by=reason[1],
            hint=reason[2],
            exit_code=code,
            parts=PartCounts(self.complete, unfinished, self.busy),
        )


def without_latencies(summary: Summary, most: int) -> Summary:
    """Return a summary that is small enough to be sent between processes: of each model at most so many latencies."""
    models = {}
    for name, tally in summary.models.items():
        step = max(1, -(-len(tally.latencies) // most))
        latencies = type(tally.latencies)("f", sorted(tally.latencies)[step // 2 :: step])
        models[name] = replace(tally, latencies=latencies)
    return replace(summary, models=models)
