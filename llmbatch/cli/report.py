"""`llmbatch report`: computes the summary again from results files."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli.arguments import RESULTS_FILES
from llmbatch.cli.completion import choose
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import ExitCode, UsageError
from llmbatch.core.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmbatch.results.expectation import Expectation
    from llmbatch.results.stats import StatsByModel

__all__ = ["report"]

FORMATS = ("table", "json", "html", "markdown", "junit")


def report(
    files: Annotated[list[str] | None, RESULTS_FILES] = None,
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
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="ANSWER=EXPECTED",
            help="Compare a field of the answer with what is right, as json.label=meta.gold: accuracy and confusion.",
        ),
    ] = None,
    min_accuracy: Annotated[
        str | None,
        typer.Option(metavar="P%", help="With --expect: exit 1 where a model, or a file, is right more seldom."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Of a run of parts: read all lines, not the summaries of complete parts.")
    ] = False,
) -> None:
    """Sum up results files: outcomes, requests, tokens, cost and latency; by model, too, when there are several.

    llmbatch report results.jsonl
    llmbatch report shard-*.jsonl --format json | jq .cost_usd
    llmbatch report results.jsonl --format html > report.html
    llmbatch report --compare gpt.jsonl claude.jsonl
    llmbatch report answers/*.jsonl --expect json.label=meta.gold --min-accuracy 90%
    """
    if format not in FORMATS:
        raise UsageError(f"--format {format} is not a format", f"--format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    least = _share(min_accuracy)
    if least is not None and expect is None:
        raise UsageError("--min-accuracy needs --expect", "Example: --expect json.label=meta.gold")
    if expect is not None and format == "junit":
        raise UsageError("--expect has no format junit", "--format table, json, html or markdown.")
    if not files and os.isatty(0):
        raise UsageError("no FILE, and stdin is a terminal", "llmbatch report FILE...")
    from llmbatch.app.files import check_stdout
    from llmbatch.parts.folder import results_in, results_of, runs_in
    from llmbatch.parts.report import report as summarize
    from llmbatch.ui.streams import notice, stdout_sink

    names = files or []
    check_stdout(results_in(names))
    out = stdout_sink()
    from llmbatch.results.expectation import Expectation

    expected = Expectation(expect) if expect is not None else None
    if compare:
        _compare({run: results_of(run) for run in runs_in(names)}, format, expected)
        _check_accuracy(expected, least)
        return

    if format == "junit":
        from llmbatch.ui.report_junit import junit_report

        with junit_report() as document:
            summarize(names, notice=notice, also=document.add)
            for piece in document.pieces():
                out(piece)
        return

    def counted(*others: "Callable[[dict[str, Any]], None]") -> "StatsByModel":
        book = summarize(names, notice=notice, also=_all(expected, others), check=check)
        for text in expected.conclude() if expected is not None else ():
            notice(text)
        return book

    _write(format, counted, names, expected)
    _check_accuracy(expected, least)


def _write(
    format: str,
    counted: "Callable[..., StatsByModel]",
    names: list[str],
    expected: "Expectation | None",
) -> None:
    """Write the report to stdout. `counted` reads the files, and shows each line to the functions that it is given."""
    from llmbatch.ui.streams import stdout_sink, terminal_width

    out = stdout_sink()
    match format:
        case "json":
            from llmbatch.codec import json

            fields = counted().as_json()
            out(json.dumps(fields if expected is None else fields | {"expected": expected.as_json()}) + b"\n")
        case "html":
            from llmbatch.results.highlights import Highlights
            from llmbatch.ui.report_html import report_page

            highlights = Highlights()
            book = counted(highlights.add)
            out(report_page(book, highlights, names or ["stdin"], expected))
        case "markdown":
            from llmbatch.results.highlights import Highlights
            from llmbatch.ui.report_markdown import report_markdown

            highlights = Highlights()
            out(report_markdown(counted(highlights.add), highlights, expected))
        case _:
            from llmbatch.ui.console import is_colored
            from llmbatch.ui.report import account_text
            from llmbatch.ui.symbols import symbols_for

            colored = is_colored(1, ENVIRONMENT)
            text = account_text(counted(), terminal_width(1), symbols_for(ENVIRONMENT), colored=colored)
            stdout_sink(escape=not colored)(text)
            if expected is not None:
                from llmbatch.ui.expectation import expectation_text

                out(expectation_text(expected, terminal_width(1), symbols_for(ENVIRONMENT)))


def _all(
    expected: "Expectation | None", others: "Sequence[Callable[[dict[str, Any]], None]]"
) -> "Callable[[dict[str, Any]], None] | None":
    """Return one function that shows a line to all who want to see it."""
    if expected is None and not others:
        return None

    def see(line: "dict[str, Any]") -> None:
        for other in others:
            other(line)
        if expected is not None:
            model = line.get("model")
            expected.add(line, model if isinstance(model, str) else "(none)")

    return see


def _share(text: str | None) -> float | None:
    """Read a share, as 90% or 0.9. Raises UsageError."""
    if text is None:
        return None
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"--min-accuracy {text!r} is not a share", "Examples: --min-accuracy 90%, --min-accuracy 0.9")
    return share


def _check_accuracy(expected: "Expectation | None", least: float | None) -> None:
    """End with exit code 1 where a group is right too seldom."""
    if expected is None or least is None:
        return
    from llmbatch.ui.streams import notice

    low = {name: score.accuracy for name, score in expected.groups.items() if (score.accuracy or 0.0) < least}
    for name, accuracy in low.items():
        notice(f"{printable(name, 80)}: {accuracy or 0.0:.1%} are right, less than --min-accuracy {least:.1%}")
    if low:
        raise typer.Exit(ExitCode.FAILURES)


def _compare(runs: "Mapping[str, Sequence[str]]", format: str, expected: "Expectation | None") -> None:
    from llmbatch.app.compare import compare as compare_files
    from llmbatch.codec import json
    from llmbatch.ui.compare import comparison_text
    from llmbatch.ui.streams import notice, stdout_sink, terminal_width
    from llmbatch.ui.symbols import symbols_for

    if format not in ("table", "json", "html"):
        raise UsageError(f"--compare has no format {format}", "--format table, json or html.")
    found = compare_files(runs, notice=notice, also=_by_file(expected) if expected is not None else None)
    for text in expected.conclude() if expected is not None else ():
        notice(text)
    match format:
        case "json":
            fields = found.as_json()
            said = json.dumps(fields if expected is None else fields | {"expected": expected.as_json()}) + b"\n"
        case "html":
            from llmbatch.ui.compare_html import comparison_page

            said = comparison_page(found, expected)
        case _:
            said = comparison_text(found, terminal_width(1), symbols_for(ENVIRONMENT))
            if expected is not None:
                from llmbatch.ui.expectation import expectation_text

                said += expectation_text(expected, terminal_width(1), symbols_for(ENVIRONMENT))
    stdout_sink()(said)


def _by_file(expected: "Expectation") -> "Callable[[str, dict[str, Any]], None]":
    return lambda name, line: expected.add(line, name)
