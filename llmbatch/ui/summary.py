"""The table at the end of a run."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmbatch.core.printable import printable
from llmbatch.core.tally import ModelTally, Summary
from llmbatch.ui.causes import shares_line
from llmbatch.ui.console import columns
from llmbatch.ui.plain import clock

__all__ = ["show_summary"]

_ENDPOINT_COLUMNS = ("server", "requests", "answered", "refused")
_MODEL_COLUMNS = ("model", "ok", "failed", "requests", "tokens in", "out", "cost", "p50", "p95")


def show_summary(console: Console, summary: Summary) -> None:
    """Print what happened, the numbers that matter first."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in _rows(summary):
        table.add_row(Text(name), Text(value))
    console.print(table)
    if len(summary.models) > 1:
        console.print(columns(_MODEL_COLUMNS, [_model_row(name, share) for name, share in summary.models.items()]))
    if summary.servers:
        rows = [(t.url, f"{t.requests:,}", f"{t.answered:,}", f"{t.refused:,}") for t in summary.servers]
        console.print(columns(_ENDPOINT_COLUMNS, rows))


def _model_row(name: str, share: ModelTally) -> tuple[str, ...]:
    latency = share.as_json()["latency_s"]
    return (
        name,
        f"{share.ok:,}",
        f"{share.failed:,}",
        f"{share.requests:,}",
        f"{share.input_tokens:,}",
        f"{share.output_tokens:,}",
        "" if share.cost is None else f"${share.cost:,.6f}",
        *(f"{latency[rank]:.3g} s" if latency else "" for rank in ("p50", "p95")),
    )


def _rows(summary: Summary) -> list[tuple[str, str]]:
    failed = sum(summary.failed.values())
    rows = [("records", f"{summary.read:,}"), ("  ok", f"{summary.ok:,}"), ("  failed", f"{failed:,}")]
    rows += [(f"    {printable(kind)}", f"{count:,}") for kind, count in sorted(summary.failed.items())]
    for count, name in (
        (summary.done_before, "  done before"),
        (summary.failed_before, "  failed before"),
        (summary.held, "  held in doubt"),
        (summary.dropped, "  dropped in flight, in doubt"),
        (summary.not_started, "  not started"),
        (summary.unwritten, "  not written"),
        (summary.orphans, "lines without a record"),
    ):
        if count:
            rows.append((name, f"{count:,}"))
    rows.append(("requests", f"{summary.requests:,} ({summary.retries:,} sent again)"))
    if summary.possibly_billed:
        rows.append(("  possibly billed without an answer", f"{summary.possibly_billed:,}"))
    if summary.input_tokens or summary.output_tokens:
        rows.append(("tokens in, out", f"{summary.input_tokens:,}, {summary.output_tokens:,}"))
    if summary.cost_usd is not None:
        rows.append(("cost", f"${summary.cost_usd:,.6f}"))
    done = summary.ok + failed
    rate = done / summary.wall_s if summary.wall_s > 0 else 0.0
    duration = f"{summary.wall_s:.1f} s" if summary.wall_s < 60 else clock(summary.wall_s)
    rows.append(("time", f"{duration}, {rate:,.1f} records/s"))
    if summary.latency_s:
        rows.append(("latency p50, p95, p99", ", ".join(f"{s:.3g} s" for s in summary.latency_s.values())))
    if summary.waited_s:
        rows.append(("waited for the server", f"{summary.waited_s:.1f} s"))
    if limits := shares_line(summary.limited_by):
        rows.append(("limited by", limits))
    return rows
