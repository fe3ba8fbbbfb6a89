"""`llmbatch report`: computes the summary again from results files."""

import os
from typing import Annotated

import typer

from llmbatch.cli.completion import choose
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import UsageError

__all__ = ["report"]

FORMATS = ("table", "json", "html", "markdown", "junit")


def report(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Results files, shards too; none or - is stdin.", show_default=False),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="|".join(FORMATS),
            help="The shape of the report; html is one page.",
            autocompletion=choose(*FORMATS),
        ),
    ] = "table",
    compare: Annotated[
        bool, typer.Option("--compare", help="Put the answers of several files side by side, by id.")
    ] = False,
) -> None:
    """Sum up results files: outcomes, requests, tokens, cost and latency, by model when there are several.

    llmbatch report results.jsonl
    llmbatch report shard-*.jsonl --format json | jq .cost_usd
    llmbatch report results.jsonl --format html > report.html
    llmbatch report --compare gpt.jsonl claude.jsonl
    """
    if format not in FORMATS:
        raise UsageError(f"--format {format}: not a format", f"--format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    if not files and os.isatty(0):
        raise UsageError("no FILE, and stdin is a terminal", "llmbatch report FILE...")
    from llmbatch.app.files import check_stdout
    from llmbatch.app.report import report as summarize
    from llmbatch.ui.streams import notice, stdout_sink, terminal_width

    check_stdout(files or [])
    out, names = stdout_sink(), files or []
    if compare:
        _compare(names, format)
        return
    match format:
        case "json":
            from llmbatch.codec import json

            out(json.dumps(summarize(names, notice=notice).as_json()) + b"\n")
        case "html":
            from llmbatch.results.highlights import Highlights
            from llmbatch.ui.report_html import report_page

            highlights = Highlights()
            book = summarize(names, notice=notice, also=highlights.add)
            out(report_page(book, highlights, names or ["stdin"]))
        case "markdown":
            from llmbatch.results.highlights import Highlights
            from llmbatch.ui.report_markdown import report_markdown

            highlights = Highlights()
            out(report_markdown(summarize(names, notice=notice, also=highlights.add), highlights))
        case "junit":
            from llmbatch.ui.report_junit import junit_report

            with junit_report() as document:
                summarize(names, notice=notice, also=document.add)
                for piece in document.pieces():
                    out(piece)
        case _:
            from llmbatch.ui.report import account_text
            from llmbatch.ui.symbols import symbols_for

            out(account_text(summarize(names, notice=notice), terminal_width(1), symbols_for(ENVIRONMENT)))


def _compare(names: list[str], format: str) -> None:
    from llmbatch.app.compare import compare as compare_files
    from llmbatch.codec import json
    from llmbatch.ui.compare import comparison_text
    from llmbatch.ui.streams import notice, stdout_sink, terminal_width
    from llmbatch.ui.symbols import symbols_for

    if format not in ("table", "json", "html"):
        raise UsageError(f"--compare has no format {format}", "--format table, json or html.")
    found = compare_files(names, notice=notice)
    match format:
        case "json":
            text = json.dumps(found.as_json()) + b"\n"
        case "html":
            from llmbatch.ui.compare_html import comparison_page

            text = comparison_page(found)
        case _:
            text = comparison_text(found, terminal_width(1), symbols_for(ENVIRONMENT))
    stdout_sink()(text)
