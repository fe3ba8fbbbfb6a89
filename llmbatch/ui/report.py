"""What results files add up to, as a table."""

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import RenderableType
from rich.text import Text

from llmbatch.core.printable import printable
from llmbatch.results.stats import Stats, StatsByModel
from llmbatch.ui.console import WIDE, facts, plain_text
from llmbatch.ui.histogram import bar_line, histogram
from llmbatch.ui.layout import table
from llmbatch.ui.symbols import Symbols
from llmbatch.ui.units import duration, money

__all__ = ["MODEL_COLUMNS", "MODEL_FIGURES", "Fact", "account_rows", "account_text", "model_rows"]

MODEL_COLUMNS = ("model", "records", "ok", "failed", "tokens in", "out", "cost", "p50", "p95", "p99")
MODEL_FIGURES = (
    *("", "records", "ok", "failed", "input_tokens", "output_tokens", "cost_usd"),
    *("latency_s.p50", "latency_s.p95", "latency_s.p99"),
)
"""What `--format json` calls the figures of these columns."""
_FIRST_TO_GO = ("p99", "p95", "records", "tokens in", "out", "p50", "failed")


class Fact(NamedTuple):
    """A line about all results. `figures` are what `--format json` calls the numbers in its value, in their order."""

    name: str
    value: str
    figures: tuple[str, ...] = ()


def account_text(book: StatsByModel, width: int | None, symbols: Symbols) -> bytes:
    """Write the account down, models line by line when there are several."""
    total = book.total()

    def parts() -> Iterator[RenderableType]:
        yield facts((fact.name, fact.value) for fact in account_rows(book.files, total))
        if (shape := histogram(total.latencies)) is not None:
            scale = f"{duration(shape.low)} {bar_line(shape.counts, symbols.bars)} {duration(shape.high)}"
            yield Text(f"\nlatency  {scale}", no_wrap=True, overflow="crop")
        if rows := model_rows(book):
            lines = table(MODEL_COLUMNS, rows, width or WIDE, drop=_FIRST_TO_GO, ellipsis=symbols.ellipsis)
            yield Text("\n" + "\n".join(lines), no_wrap=True, overflow="crop")

    return plain_text(parts(), width)


def account_rows(files: int, total: Stats) -> list[Fact]:
    """Return the facts, those that matter first; what is zero and usual is left out."""
    rows = [
        Fact("records", f"{total.records:,}", ("records",)),
        Fact("  ok", f"{total.ok:,}", ("ok",)),
        Fact("  failed", f"{total.failed:,}", ("failed",)),
    ]
    rows += [Fact(f"    {kind}", f"{count:,}", (f"failures.{kind}",)) for kind, count in total.failures.most_common()]
    for count, name, figure in (
        (total.billed_failures, "  failed, but billed", "billed_failures"),
        (total.reused, "  reused", "reused"),
        (total.deduplicated, "  deduplicated", "deduplicated"),
    ):
        if count:
            rows.append(Fact(name, f"{count:,}", (figure,)))
    rows.append(Fact("requests", f"{total.requests:,} ({total.sent_again:,} sent again)", ("requests", "retries")))
    if total.possibly_billed:
        rows.append(Fact("  possibly billed without an answer", f"{total.possibly_billed:,}", ("possibly_billed",)))
    tokens = f"{total.tokens['input_tokens']:,}, {total.tokens['output_tokens']:,}"
    rows.append(Fact("tokens in, out", tokens, ("input_tokens", "output_tokens")))
    for name, what in (
        ("cached_input_tokens", "  cached"),
        ("cache_write_tokens", "  written to a cache"),
        ("reasoning_tokens", "  reasoning"),
    ):
        if total.tokens[name]:
            rows.append(Fact(what, f"{total.tokens[name]:,}", (name,)))
    if total.cost_usd is not None:
        partly = f" ({total.unpriced:,} answers have no price)" if total.unpriced else ""
        rows.append(Fact("cost", f"{money(total.cost_usd)}{partly}", ("cost_usd", *(["unpriced"] if partly else []))))
    if latency := total.latency_s():
        ranks = tuple(f"latency_s.{rank}" for rank in latency)
        rows.append(Fact("latency p50, p95, p99", ", ".join(map(duration, latency.values())), ranks))
    if total.first_started_at and total.last_started_at:
        rows.append(Fact("first request", total.first_started_at, ("first_started_at",)))
        rows.append(Fact("last request", total.last_started_at, ("last_started_at",)))
    if files > 1:
        rows.append(Fact("files", f"{files:,}", ("files",)))
    return rows


def model_rows(book: StatsByModel) -> list[tuple[str, ...]]:
    """Return a row for each model, none unless there are several."""
    if len(book.named()) < 2:
        return []
    return [_model_row(name, account) for name, account in book.by_model()]


def _model_row(name: str, account: Stats) -> tuple[str, ...]:
    latency = account.latency_s()
    return (
        printable(name, 200),
        f"{account.records:,}",
        f"{account.ok:,}",
        f"{account.failed:,}",
        f"{account.tokens['input_tokens']:,}",
        f"{account.tokens['output_tokens']:,}",
        "" if account.cost_usd is None else money(account.cost_usd),
        *(duration(latency[rank]) if latency else "" for rank in ("p50", "p95", "p99")),
    )
