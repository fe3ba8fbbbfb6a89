"""`llmbatch convert`: writes results in another shape."""

import os
from pathlib import Path
from typing import Annotated

import typer

from llmbatch.cli.arguments import RESULTS_FILES
from llmbatch.cli.completion import choose
from llmbatch.core.errors import UsageError

__all__ = ["convert"]

_SHAPES = ("openai-batch", "cookbook", "text", "csv", "tsv", "parquet")
_WORKBOOKS = (".xlsx", ".xls", ".ods")
"""Files of spreadsheets, which cannot be written."""


def convert(
    files: Annotated[list[str] | None, RESULTS_FILES] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Written whole or not at all. Default: stdout."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="openai-batch|cookbook|text|csv|tsv|parquet",
            help="The shape. Default: what the name of OUT says.",
            autocompletion=choose(*_SHAPES),
        ),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", "-r", help="With text: the text itself, failures left out.")] = False,
    meta_columns: Annotated[
        str | None,
        typer.Option(
            metavar="all|none|FIELD,...", help="With a table: which fields of meta become columns. Default: all."
        ),
    ] = None,
    no_csv_safe: Annotated[
        bool,
        typer.Option("--no-csv-safe", help="With csv or tsv: no apostrophe before text that begins like a formula."),
    ] = False,
    excel: Annotated[
        bool, typer.Option("--excel", help="With csv or tsv: a byte order mark, by which Excel knows UTF-8.")
    ] = False,
    error_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="With openai-batch or cookbook: failures go to this file.")
    ] = None,
) -> None:
    """Write results files as CSV, Parquet, text or OpenAI Batch lines, one for each record.

    llmbatch convert results.jsonl -o results.csv
    llmbatch convert results.jsonl --to text --raw | less
    llmbatch convert shard-*.jsonl -o results.parquet
    llmbatch convert done.jsonl --to openai-batch --error-file errors.jsonl > out.jsonl

    CSV has a column for each field of json and of meta, and is safe to open: text that a spreadsheet would take for a
    formula gets a leading apostrophe.
    """
    if to is None:
        from llmbatch.app.table_names import shape_named

        to = shape_named(output) if output is not None else None
    if to is None:
        raise UsageError(
            f"-o {output}: its name says no format" if output is not None else "no format is named",
            "A spreadsheet opens CSV: -o OUT.csv --excel."
            if output is not None and output.suffix.lower() in _WORKBOOKS
            else f"Add --to {', '.join(_SHAPES[:-1])} or {_SHAPES[-1]}, or -o OUT.csv and the like.",
        )
    _check(to, raw=raw, meta_columns=meta_columns, error_file=error_file, no_csv_safe=no_csv_safe, excel=excel)
    if not files and os.isatty(0):
        raise UsageError("no FILE, and stdin is a terminal", "llmbatch convert FILE... --to SHAPE")
    if to == "parquet" and output is None and os.isatty(1):
        raise UsageError("Parquet is nothing for a terminal", "Add -o OUT, or pipe it.")
    from llmbatch.app.convert import Shape
    from llmbatch.app.convert import convert as reshape
    from llmbatch.parts.folder import results_in
    from llmbatch.ui.streams import notice, stdout_sink

    reshape(
        results_in(files or []),
        Shape(to=to, raw=raw, meta=_columns(meta_columns), safe=not no_csv_safe, mark=excel),
        output=None if output is None or str(output) == "-" else output,
        error_file=error_file,
        stdout=stdout_sink(),
        notice=notice,
    )


def _check(
    to: str, *, raw: bool, meta_columns: str | None, error_file: Path | None, no_csv_safe: bool, excel: bool
) -> None:
    """Check the shape, and that no option is without effect. Raises UsageError."""
    if to not in _SHAPES:
        raise UsageError(f"--to {to} is not a format", f"--to {', '.join(_SHAPES[:-1])} or {_SHAPES[-1]}.")
    for is_set, option, shapes in (
        (raw, "--raw", ("text",)),
        (meta_columns is not None, "--meta-columns", ("csv", "tsv", "parquet")),
        (no_csv_safe, "--no-csv-safe", ("csv", "tsv")),
        (excel, "--excel", ("csv", "tsv")),
        (error_file is not None, "--error-file", ("openai-batch", "cookbook")),
    ):
        if is_set and to not in shapes:
            raise UsageError(f"{option} goes with --to {' or '.join(shapes)} only", f"Leave {option} out.")


def _columns(text: str | None) -> tuple[str, ...] | None:
    if text is None or text == "all":
        return None
    return () if text in ("", "none") else tuple(dict.fromkeys(text.split(",")))
