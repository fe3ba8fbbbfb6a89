"""`llmbatch report`: computes the summary again from results files."""

import os
from typing import Annotated

import typer

from llmbatch.core.errors import UsageError

__all__ = ["report"]


def report(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Results files, shards too; none or - is stdin.", show_default=False),
    ] = None,
    format: Annotated[
        str, typer.Option(metavar="table|json|html", help="The shape of the report; html is one page.")
    ] = "table",
) -> None:
    """Sum up results files: outcomes, requests, tokens, cost and latency, by model when there are several.

    llmbatch report results.jsonl
    llmbatch report shard-*.jsonl --format json | jq .cost_usd
    """
    if format not in ("table", "json", "html"):
        raise UsageError(f"--format {format}: not a format", "--format table, json or html.")
    if not files and os.isatty(0):
        raise UsageError("no FILE, and stdin is a terminal", "llmbatch report FILE...")
    from llmbatch.app.files import check_stdout
    from llmbatch.app.report import report as summarize
    from llmbatch.ui.streams import notice, stdout_sink, terminal_width

    check_stdout(files or [])
    out = stdout_sink()
    book = summarize(files or [], notice=notice)
    if format == "json":
        from llmbatch.codec import json

        out(json.dumps(book.as_json()) + b"\n")
    elif format == "html":
        from llmbatch.ui.report_html import account_page

        out(account_page(book, files or ["stdin"]))
    else:
        from llmbatch.ui.report import account_text

        out(account_text(book, terminal_width(1)))
