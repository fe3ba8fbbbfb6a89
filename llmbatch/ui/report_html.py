"""The report as one self-contained page of HTML, without scripts, network, or markup from others."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from llmbatch.core.printable import printable
from llmbatch.results.highlights import Highlights
from llmbatch.results.stats import Stats, StatsByModel
from llmbatch.ui import charts
from llmbatch.ui.histogram import histogram
from llmbatch.ui.report import MODEL_COLUMNS, account_rows, model_rows
from llmbatch.ui.units import duration, money

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["report_page"]

BARS = 48
"""Bars of the drawing over time."""


class _Card(NamedTuple):
    """One figure at the top of the page; `id` is that of its element."""

    id: str
    label: str
    value: str
    tone: str = ""


def report_page(book: StatsByModel, highlights: Highlights, names: Sequence[str]) -> bytes:
    """Write the page about results files of these names."""
    total, span = book.total(), highlights.span
    seconds = span[1] - span[0] if span is not None else 0.0
    page = _template().render(
        names=names,
        period=_period(span),
        cards=_cards(total, seconds),
        model_columns=MODEL_COLUMNS,
        models=model_rows(book),
        facts=account_rows(book.files, total),
        failures=[
            (k, f"{total.failures[k]:,}", highlights.failures.get(k, [])) for k, _ in total.failures.most_common()
        ],
        answers=highlights.answers,
        slowest=highlights.slowest,
        **_charts(total, highlights, seconds),
    )
    return page.encode("utf-8", "replace")


def _cards(total: Stats, seconds: float) -> list[_Card]:
    cards = [_Card("answered", "answered", f"{total.ok:,}", "good")]
    cards.append(_Card("failed", "failed", f"{total.failed:,}", "fail" if total.failed else ""))
    if total.cost_usd is not None:
        cards.append(_Card("cost", "cost", money(total.cost_usd)))
    if tokens := total.tokens["input_tokens"] + total.tokens["output_tokens"]:
        cards.append(_Card("tokens", "tokens", f"{tokens:,}"))
    if seconds > 0:
        cards.append(_Card("time", "total time", duration(seconds)))
        cards.append(_Card("rate", "records a second", f"{total.records / seconds:,.1f}"))
    return cards


def _charts(total: Stats, highlights: Highlights, seconds: float) -> dict[str, Any]:
    from markupsafe import Markup

    found: dict[str, Any] = {"timeline": None, "latency": None}
    if bins := highlights.timeline(BARS):
        found["timeline"] = Markup(charts.timeline(bins, seconds))
        found["busiest"] = f"{max(one.in_flight for one in bins):,.0f}"
    if (shape := histogram(total.latencies)) is not None:
        found["latency"] = Markup(charts.bars(shape.counts, shape.low, shape.high))
        found["percentiles"] = " · ".join(f"{rank} {duration(value)}" for rank, value in total.latency_s().items())
    return found


def _period(span: tuple[float, float] | None) -> str:
    if span is None:
        return ""
    first, last = (f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}" for seconds in span)
    return f"{first} to {last} UTC"


def _lines(text: str) -> str:
    """Make a text of several lines safe to show."""
    return "\n".join(printable(line, 2001) for line in text.split("\n"))


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("llmbatch.ui", "."), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"printable": printable, "duration": duration, "lines": _lines}
    return environment.get_template("report.html.jinja")
