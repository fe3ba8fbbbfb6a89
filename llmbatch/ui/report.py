"""What results files add up to, as text like the end of a run; its facts and rows for other shapes."""

from collections.abc import Iterator
from typing import NamedTuple

from llmbatch.core.plural import counted
from llmbatch.core.printable import printable
from llmbatch.results.stats import Stats, StatsByModel, unix_time
from llmbatch.ui.console import WIDE, painted
from llmbatch.ui.failures import failure_lines
from llmbatch.ui.histogram import bar_line, histogram
from llmbatch.ui.layout import flow, table
from llmbatch.ui.summary import LABEL
from llmbatch.ui.symbols import Symbols
from llmbatch.ui.units import duration, latency_ranks, money, period

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


def account_text(book: StatsByModel, width: int | None, symbols: Symbols, *, colored: bool = False) -> bytes:
    """Write the account as the end of a run is written, models line by line when there are several."""
    return ("\n".join(_lines(book, width or WIDE, symbols, colored)) + "\n").encode("utf-8", "replace")


def _lines(book: StatsByModel, width: int, symbols: Symbols, colored: bool) -> Iterator[str]:
    total = book.total()
    sign = symbols.good if not total.failed else symbols.bad
    verdict = [f"{sign} {total.ok:,} of {counted(total.records, 'record')} answered"]
    if total.failed:
        verdict.append(f"{total.failed:,} failed")
    if total.elapsed_s is not None:
        verdict.append(duration(total.elapsed_s))
    if total.cost_usd is not None:
        verdict.append(money(total.cost_usd))
    for line in flow(verdict, width, symbols.dot, symbols.ellipsis):
        yield painted(line, "1;31" if total.failed else "1;32", colored)
    for label, lines in _block(book.files, total, symbols, width - LABEL):
        for number, line in enumerate(lines):
            shown = f"{'' if number else label:<{LABEL}}"
            yield painted(shown, "1;31" if label == "failed" else "1", colored) + line
    if rows := model_rows(book):
        yield ""
        head, *rest = table(MODEL_COLUMNS, rows, width, drop=_FIRST_TO_GO, ellipsis=symbols.ellipsis)
        yield painted(head, "1", colored)
        yield from rest


def _block(files: int, total: Stats, symbols: Symbols, width: int) -> Iterator[tuple[str, list[str]]]:
    """Yield labels and the lines beside them."""

    def line(*items: str) -> list[str]:
        return flow([item for item in items if item], width, symbols.dot, symbols.ellipsis)

    if total.failed:
        yield "failed", failure_lines(total.failures, total.examples, symbols, width)
    if total.billed_failures:
        yield "paid for", line(f"{counted(total.billed_failures, 'failure')} that cost something")
    yield "requests", line(f"{total.requests:,}", _counted(total.sent_again, "sent again"))
    if total.reused or total.deduplicated:
        yield "answers", line(_counted(total.reused, "reused"), _counted(total.deduplicated, "deduplicated"))
    if total.possibly_billed:
        yield "in doubt", line(_counted(total.possibly_billed, "possibly billed without an answer"))
    if total.latencies:
        shape = histogram(total.latencies)
        ranks = latency_ranks(total.latency_s(), len(total.latencies))
        yield "latency", line(*ranks, bar_line(shape.counts, symbols.bars) if shape is not None else "")
    tokens = total.tokens
    if tokens.total():
        yield (
            "tokens",
            line(
                f"{tokens['input_tokens']:,} in",
                f"{tokens['output_tokens']:,} out",
                _counted(tokens["cached_input_tokens"], "from a cache"),
                _counted(tokens["cache_write_tokens"], "written to a cache"),
                _counted(tokens["reasoning_tokens"], "for reasoning"),
            ),
        )
    if total.cost_usd is not None:
        each = f"{money(total.cost_usd / total.ok)} an answer" if total.ok else ""
        unpriced = f"{counted(total.unpriced, 'answer')} without a price" if total.unpriced else ""
        yield "cost", line(money(total.cost_usd), each, unpriced)
    first, last = unix_time(total.first_started_at), unix_time(total.last_started_at)
    if first is not None and last is not None:
        yield "sent", line(period(first, last))
    if files > 1:
        yield "files", line(f"{files:,}")


def _counted(count: int, words: str) -> str:
    return f"{count:,} {words}" if count else ""


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
        partly = f" ({counted(total.unpriced, 'answer')} without a price)" if total.unpriced else ""
        rows.append(Fact("cost", f"{money(total.cost_usd)}{partly}", ("cost_usd", *(["unpriced"] if partly else []))))
    if len(total.latencies) == 1:
        rows.append(Fact("latency", duration(total.latencies[0]), ("latency_s.p50",)))
    elif latency := total.latency_s():
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
