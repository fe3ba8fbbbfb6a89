"""The report as one self-contained page of HTML, without scripts, network, or markup from others."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from llmbatch.results.expectation import Expectation
from llmbatch.results.highlights import Highlights
from llmbatch.results.stats import Stats, StatsByModel
from llmbatch.ui import charts
from llmbatch.ui.expectation import for_page
from llmbatch.ui.histogram import histogram
from llmbatch.ui.html_page import html_page
from llmbatch.ui.report import MODEL_COLUMNS, MODEL_FIGURES, account_rows, model_rows
from llmbatch.ui.units import duration, money, period, rate

__all__ = ["report_page"]

BARS = 48
"""Bars of the drawing over time."""
ENOUGH = 8
"""Records; of fewer a drawing over time shows nothing."""


class _Card(NamedTuple):
    """One figure at the top of the page; `figures` is what `--format json` calls it, a sum with a + between them."""

    figures: str
    label: str
    value: str
    tone: str = ""


def report_page(
    book: StatsByModel, highlights: Highlights, names: Sequence[str], expected: Expectation | None = None
) -> bytes:
    """Write the page about results files of these names."""
    total, kinds = book.total(), book.total().failures.most_common()
    models = model_rows(book)
    return html_page(
        "report",
        verdict=f"{total.ok:,} of {total.records:,} answered" if total.records else "No records",
        names=names,
        period=period(*highlights.span) if highlights.span is not None else "",
        total=total,
        cards=_cards(total),
        timeline=_timeline(highlights) if total.records >= ENOUGH else None,
        latency=_latency(total),
        model_columns=MODEL_COLUMNS,
        model_figures=MODEL_FIGURES,
        models=models,
        several=bool(models),
        facts=account_rows(book.files, total),
        failures=[
            (kind, f"{count:,}", examples := highlights.failures.get(kind, []), count > len(examples))
            for kind, count in kinds
        ],
        answers=highlights.answers,
        slowest=highlights.slowest,
        expected=for_page(expected),
    )


def _cards(total: Stats) -> list[_Card]:
    cards = [_Card("ok", "answered", f"{total.ok:,}", "good" if total.ok else "")]
    cards.append(_Card("failed", "failed", f"{total.failed:,}", "fail" if total.failed else ""))
    if total.cost_usd is not None:
        cards.append(_Card("cost_usd", "cost", money(total.cost_usd)))
    if tokens := total.tokens["input_tokens"] + total.tokens["output_tokens"]:
        cards.append(_Card("input_tokens+output_tokens", "tokens", f"{tokens:,}"))
    if total.elapsed_s is not None:
        cards.append(_Card("elapsed_s", "total time", duration(total.elapsed_s)))
    if total.records_per_s:
        cards.append(_Card("records_per_s", "records a second", rate(total.records_per_s)))
    return cards


def _timeline(highlights: Highlights) -> dict[str, Any] | None:
    """Return the drawings of answers and of requests in flight, and the words on their axes."""
    from markupsafe import Markup

    bins, span = highlights.timeline(BARS), highlights.span
    if not bins or span is None:
        return None
    seconds = span[1] - span[0]
    most = max(one.ok + one.failed for one in bins) or 1
    busiest = max(one.in_flight for one in bins) or 1.0
    peak = most * BARS / seconds
    return {
        "ended": Markup(charts.stacked(bins, most)),
        "in_flight": Markup(charts.area([one.in_flight for one in bins], busiest)),
        "most": f"{rate(peak)}/s" if peak >= 1 else f"{rate(peak * 60)}/min",
        "busiest": f"{busiest:,.0f}" if busiest >= 2 else f"{busiest:.1f}",
        "marks": ["0 s", *(duration(seconds * part) for part in (0.25, 0.5, 0.75, 1))],
    }


def _latency(total: Stats) -> dict[str, Any] | None:
    """Return the drawing of latencies on a logarithmic scale, and the words on its axes."""
    from markupsafe import Markup

    shape = histogram(total.latencies)
    if shape is None:
        return None
    width, ranks, most = math.log(shape.high / shape.low), total.latency_s(), max(shape.counts)
    places = [math.log(max(value, shape.low) / shape.low) / width for value in ranks.values()]
    return {
        "counts": Markup(charts.bars(shape.counts, most, places)),
        "most": f"{most:,}",
        "marks": [duration(shape.low * math.exp(width * part)) for part in (0, 0.25, 0.5, 0.75, 1)],
        "ranks": [(rank, duration(value)) for rank, value in ranks.items()],
    }
