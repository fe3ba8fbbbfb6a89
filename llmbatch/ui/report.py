"""What results files add up to, as a table."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from llmbatch.core.printable import printable
from llmbatch.results.stats import Stats, StatsByModel
from llmbatch.ui.console import WIDE, facts, plain_text
from llmbatch.ui.histogram import bar_line, histogram
from llmbatch.ui.layout import table
from llmbatch.ui.symbols import Symbols
from llmbatch.ui.units import duration, money

__all__ = ["MODEL_COLUMNS", "account_rows", "account_text", "model_rows"]

MODEL_COLUMNS = ("model", "records", "ok", "failed", "tokens in", "out", "cost", "p50", "p95", "p99")
_FIRST_TO_GO = ("p99", "p95", "records", "tokens in", "out", "p50", "failed")


def account_text(book: StatsByModel, width: int | None, symbols: Symbols) -> bytes:
    """Write the account down, models line by line when there are several."""
    total = book.total()

    def parts() -> Iterator[RenderableType]:
        yield facts(account_rows(book.files, total))
        if (shape := histogram(total.latencies)) is not None:
            scale = f"{duration(shape.low)} {bar_line(shape.counts, symbols.bars)} {duration(shape.high)}"
            yield Text(f"\nlatency  {scale}", no_wrap=True, overflow="crop")
        if rows := model_rows(book):
            lines = table(MODEL_COLUMNS, rows, width or WIDE, drop=_FIRST_TO_GO, ellipsis=symbols.ellipsis)
            yield Text("\n" + "\n".join(lines), no_wrap=True, overflow="crop")

    return plain_text(parts(), width)


def account_rows(files: int, total: Stats) -> list[tuple[str, str]]:
    """Return the facts, those that matter first; what is zero and usual is left out."""
    rows = [("records", f"{total.records:,}"), ("  ok", f"{total.ok:,}"), ("  failed", f"{total.failed:,}")]
    rows += [(f"    {kind}", f"{count:,}") for kind, count in total.failures.most_common()]
    if total.billed_failures:
        rows.append(("  failed, but billed", f"{total.billed_failures:,}"))
    for count, name in ((total.reused, "  reused"), (total.deduplicated, "  deduplicated")):
        if count:
            rows.append((name, f"{count:,}"))
    rows.append(("requests", f"{total.requests:,} ({total.sent_again:,} sent again)"))
    if total.possibly_billed:
        rows.append(("  possibly billed without an answer", f"{total.possibly_billed:,}"))
    rows.append(("tokens in, out", f"{total.tokens['input_tokens']:,}, {total.tokens['output_tokens']:,}"))
    for name, what in (
        ("cached_input_tokens", "  cached"),
        ("cache_write_tokens", "  written to a cache"),
        ("reasoning_tokens", "  reasoning"),
    ):
        if total.tokens[name]:
            rows.append((what, f"{total.tokens[name]:,}"))
    if total.cost_usd is not None:
        partly = f" ({total.unpriced:,} answers have no price)" if total.unpriced else ""
        rows.append(("cost", f"{money(total.cost_usd)}{partly}"))
    latency = total.latency_s()
    if latency:
        rows.append(("latency p50, p95, p99", ", ".join(map(duration, latency.values()))))
    if total.first_started_at and total.last_started_at:
        rows.append(("first request", total.first_started_at))
        rows.append(("last request", total.last_started_at))
    if files > 1:
        rows.append(("files", f"{files:,}"))
    return rows


def model_rows(book: StatsByModel) -> list[tuple[str, ...]]:
    """Return a row for each model, none unless there are several."""
    if len(book.models) - (None in book.models) < 2:
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
