"""What a complete part has, as a small file: the counts of its result lines, so that a report need not read them. Pure.

Latencies are counted in classes that are two per cent wide: percentiles over all parts are exact to one per cent.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from llmbatch.core.settings import Redo
from llmbatch.results.stats import Stats, StatsByModel

__all__ = ["needs_work", "stats_of", "summary_of"]

_WIDTH = math.log(1.02)
MOST_LATENCIES = 100_000
"""Latencies of a model that are kept in memory after parts were added up; of more, each stands for several."""

_SINGLE = tuple(field.name for field in fields(Stats) if field.name not in ("failures", "tokens", "latencies"))
"""The counts and times that are single values."""
_LEFT_ALONE = frozenset({"invalid_record", "duplicate_id"})
"""Kinds of failures that come again as long as the input is the same, which the plan guarantees."""


def summary_of(part: str, stats: StatsByModel) -> dict[str, Any]:
    """Return the fields of a part's file. `part` is its number and the plan."""
    total = stats.total()
    return {
        "part": part,
        "records": total.records,
        "ok": total.ok,
        "failed": total.failed,
        "cost_usd": total.cost_usd,
        "models": [[name, _counts(one)] for name, one in stats.models.items()],
    }


def stats_of(summaries: Iterable[Mapping[str, Any]]) -> StatsByModel:
    """Add up parts."""
    book = StatsByModel()
    classes: dict[str | None, Counter[int]] = {}
    for summary in summaries:
        book.files += 1
        for model, counts in summary["models"]:
            one = Stats(
                **{name: counts[name] for name in _SINGLE if counts.get(name) is not None},
                failures=Counter(counts["failures"]),
                tokens=Counter(counts["tokens"]),
            )
            book.models.setdefault(model, Stats()).include(one)
            classes.setdefault(model, Counter()).update(dict(counts["latencies"]))
    for name, counts in classes.items():
        share = min(1.0, MOST_LATENCIES / max(1, counts.total()))
        for place, count in counts.items():
            seconds = math.exp(place * _WIDTH)
            book.models[name].latencies.extend([seconds] * max(1, round(count * share)))
    return book


def needs_work(summary: Mapping[str, Any], redo: Redo) -> bool:
    """Say whether something of a complete part is to be sent again, as `--redo` says."""
    if redo.ids is not None:
        return True
    failures: Counter[str] = Counter()
    billed = 0
    for _, counts in summary["models"]:
        failures.update(counts["failures"])
        billed += counts["billed_failures"]
    if redo.kinds:
        return any(failures[kind] for kind in redo.kinds)
    again = sum(count for kind, count in failures.items() if kind not in _LEFT_ALONE)
    return {"none": False, "all": again > 0}.get(redo.failures, again > billed)


def _counts(stats: Stats) -> dict[str, Any]:
    classes = Counter(round(math.log(max(seconds, 1e-4)) / _WIDTH) for seconds in stats.latencies)
    return {
        **{name: getattr(stats, name) for name in _SINGLE},
        "failures": dict(stats.failures),
        "tokens": dict(stats.tokens),
        "latencies": sorted(classes.items()),
    }
