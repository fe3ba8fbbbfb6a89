"""The end of a run as people read it: a verdict in one line, then what happened, aligned."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from rich.console import Console
from rich.text import Text

from llmbatch.core.errors import ExitCode
from llmbatch.core.plural import counted
from llmbatch.core.printable import printable
from llmbatch.core.tally import ModelTally, Summary
from llmbatch.ui.causes import shares_line
from llmbatch.ui.closing import Closing
from llmbatch.ui.failures import failure_lines
from llmbatch.ui.histogram import bar_line, histogram
from llmbatch.ui.layout import flow, table
from llmbatch.ui.symbols import Symbols
from llmbatch.ui.units import duration, latency_ranks, money, rate, share

__all__ = ["LABEL", "show_summary", "verdict"]

LABEL = 11
"""Cells of the first column."""
_MODEL_COLUMNS = ("model", "ok", "failed", "requests", "tokens in", "out", "cost", "p50", "p95")
_FIRST_TO_GO = ("p95", "requests", "tokens in", "out", "p50", "failed")
_SERVER_COLUMNS = ("server", "requests", "answered", "refused")


def show_summary(
    console: Console,
    summary: Summary,
    symbols: Symbols,
    redact: Callable[[str], str],
    closings: Sequence[Closing] = (),
) -> None:
    """Print what happened, what matters first; `closings` at the end, but for why it stopped, which comes early.

    No line is wider than the console, except for commands.
    """
    width = console.width
    first = [closing for closing in closings if closing.label == "stopped"]
    console.print(
        Text("\n".join(flow(verdict(summary, symbols), width, symbols.dot, symbols.ellipsis)), _style(summary)),
        soft_wrap=True,
    )
    for label, lines in chain(_closed(first, width), _block(summary, symbols, redact, width - LABEL)):
        _print(console, label, lines)
    for lines in _tables(summary, symbols, width):
        console.print()
        console.print(Text(lines[0], "bold"), soft_wrap=True)
        console.print(Text("\n".join(lines[1:])), soft_wrap=True)
    if len(summary.models) > 1 or summary.servers:
        console.print()
    for label, lines in _closed([closing for closing in closings if closing not in first], width):
        _print(console, label, lines)


def _print(console: Console, label: str, lines: Sequence[str]) -> None:
    style = "bold red" if label in ("failed", "stopped") else "bold"
    for number, line in enumerate(lines):
        console.print(Text.assemble((f"{'' if number else label:<{LABEL}}", style), line), soft_wrap=True)


def _closed(closings: Iterable[Closing], width: int) -> Iterator[tuple[str, list[str]]]:
    for closing in closings:
        wrapped = textwrap.wrap(closing.text, max(20, width - LABEL), break_on_hyphens=False)
        yield closing.label, [closing.text] if closing.has_command else wrapped


def verdict(summary: Summary, symbols: Symbols) -> list[str]:
    """Say how a run ended, as parts of one line: answered of all, what is open or failed, time, cost."""
    answered = summary.ok + summary.done_before
    failed = sum(summary.failed.values()) + summary.failed_before
    of = f"{summary.read:,}" if summary.read_whole else f"the first {summary.read:,}"
    done = f"{answered:,} of {of} answered" if summary.read else "no records" if summary.read_whole else "nothing sent"
    parts = [f"{_sign(summary, symbols)} {done}"]
    for count, words in (
        (failed, "failed"),
        (summary.pending, "in batches"),
        (summary.held + summary.dropped, "in doubt"),
        (summary.unwritten, "not written"),
        (summary.not_started, "not sent"),
    ):
        if count:
            parts.append(f"{count:,} {words}")
    parts.append(duration(summary.wall_s))
    if summary.cost_usd is not None:
        parts.append(money(summary.cost_usd))
    return parts


def _sign(summary: Summary, symbols: Symbols) -> str:
    if summary.exit_code == ExitCode.OK:
        return symbols.good
    return symbols.open if summary.exit_code in _OPEN else symbols.bad


def _style(summary: Summary) -> str:
    if summary.exit_code == ExitCode.OK:
        return "bold green"
    return "bold yellow" if summary.exit_code in _OPEN else "bold red"


_OPEN = (
    *(ExitCode.CEILING, ExitCode.HELD, ExitCode.PENDING, ExitCode.READER_GONE),
    *(ExitCode.INTERRUPT, ExitCode.TERMINATED, ExitCode.HANGUP),
)
"""The ends after which nothing is wrong, but not all is done."""


def _block(
    summary: Summary, symbols: Symbols, redact: Callable[[str], str], width: int
) -> Iterator[tuple[str, list[str]]]:
    """Yield labels and the lines beside them."""

    def line(*items: str) -> list[str]:
        return flow([item for item in items if item], width, symbols.dot, symbols.ellipsis)

    if (parts := summary.parts) is not None:
        whole = parts.complete + parts.unfinished
        busy = _counted(parts.busy, "with other runs")
        yield "parts", line(f"{parts.complete:,} of {whole:,} complete", busy)
    if summary.failed:
        yield "failed", failure_lines(summary.failed, summary.examples, symbols, width, redact)
    earlier = (
        _counted(summary.done_before, "answered"),
        _counted(summary.failed_before, "failed"),
        counted(summary.orphans, "line") + " without a record" if summary.orphans else "",
    )
    if any(earlier):
        yield "before", line(*earlier)
    waiting = f"{counted(summary.pending, 'record is', 'records are')} with the provider" if summary.pending else ""
    if waiting or summary.collected:
        yield "batches", line(waiting, _counted(summary.collected, "collected"))
    if summary.others:
        yield "others", line(f"{counted(summary.others, 'answer')} of batches to records that are not in this input")
    if summary.held or summary.dropped:
        yield "in doubt", line(_counted(summary.held, "held"), _counted(summary.dropped, "dropped in flight"))
    requests = f"{summary.requests:,}"
    again = _counted(summary.retries, "sent again")
    yield "requests", line(requests, again, _counted(summary.possibly_billed, "possibly billed without an answer"))
    done = summary.ok + sum(summary.failed.values())
    pace = f"{rate(done / summary.wall_s)} records/s" if done and summary.wall_s > 0 else ""
    waited = f"{duration(summary.waited_s)} waiting for the server" if summary.waited_s >= 0.1 else ""
    if pace or waited:
        yield "pace", line(pace, waited)
    if limits := shares_line(summary.limited_by):
        yield "limited by", line(*limits.split(", "))
    if summary.latency_s:
        shape = histogram([*chain.from_iterable(tally.latencies for tally in summary.models.values())])
        answers = sum(len(tally.latencies) for tally in summary.models.values())
        ranks = latency_ranks(summary.latency_s, answers)
        yield "latency", line(*ranks, bar_line(shape.counts, symbols.bars) if shape is not None else "")
    if summary.input_tokens or summary.output_tokens:
        cached = summary.cached_input_tokens
        hit = f"{cached:,} in from cache ({share(min(1.0, cached / max(1, summary.input_tokens)))})" if cached else ""
        if summary.cache_saved_usd is not None:
            saved = summary.cache_saved_usd
            hit += f", {money(saved)} less" if saved >= 0 else f", {money(-saved)} more for writing it"
        yield "tokens", line(f"{summary.input_tokens:,} in", f"{summary.output_tokens:,} out", hit)
    if summary.cost_usd is not None:
        each = f"{money(summary.cost_usd / summary.ok)} an answer" if summary.ok else ""
        yield "cost", line(money(summary.cost_usd), each)


def _counted(count: int, words: str) -> str:
    return f"{count:,} {words}" if count else ""


def _tables(summary: Summary, symbols: Symbols, width: int) -> Iterator[list[str]]:
    """Yield the lines of a table of models, and of one of servers, where there are several."""
    if len(summary.models) > 1:
        rows = [_model_row(name, tally) for name, tally in summary.models.items()]
        yield table(_MODEL_COLUMNS, rows, width, drop=_FIRST_TO_GO, ellipsis=symbols.ellipsis)
    if summary.servers:
        servers = [(t.url, f"{t.requests:,}", f"{t.answered:,}", f"{t.refused:,}") for t in summary.servers]
        yield table(_SERVER_COLUMNS, servers, width, drop=("requests",), ellipsis=symbols.ellipsis)


def _model_row(name: str, tally: ModelTally) -> tuple[str, ...]:
    latency = tally.latency_s()
    return (
        printable(name, 80),
        f"{tally.ok:,}",
        f"{tally.failed:,}" if tally.failed else "",
        f"{tally.requests:,}",
        f"{tally.input_tokens:,}" if tally.input_tokens else "",
        f"{tally.output_tokens:,}" if tally.output_tokens else "",
        "" if tally.cost_usd is None else money(tally.cost_usd),
        *(duration(latency[rank]) if latency else "" for rank in ("p50", "p95")),
    )
