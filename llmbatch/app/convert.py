"""`convert`: writes results files in another shape, to a file, all or nothing, or to stdout."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbatch.app.files import NamedFile, check_files, resolve_target, results_read
from llmbatch.app.table_names import results_of_table
from llmbatch.core.errors import OutputError, UsageError
from llmbatch.input.parquet import check_parquet
from llmbatch.results import disk
from llmbatch.results.csv import MARK, Columns, row
from llmbatch.results.output_formats import SHAPES, Missing
from llmbatch.results.parquet import Survey, parquet_pieces
from llmbatch.results.reader import ResultsReader, open_results

__all__ = ["Shape", "convert", "shaped_pieces"]

_MOST_COLUMNS = 1000

_PIECE = 1 << 16

_DELIMITERS = {"csv": ",", "tsv": "\t"}

Write = Callable[[bytes], None]

_Piece = tuple[bytes, bool]
"""Bytes, and whether they belong to the file of failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape to convert to. `meta` names the fields of meta that become columns; None stands for all.

    CSV that is `safe` has an apostrophe before what a spreadsheet would run; `mark` puts a byte order mark in front.
    """

    to: str
    raw: bool = False
    meta: tuple[str, ...] | None = None
    safe: bool = True
    mark: bool = False


def convert(
    names: Sequence[str],
    shape: Shape,
    *,
    output: Path | None,
    error_file: Path | None,
    stdout: Write,
    notice: Callable[[str], None],
) -> None:
    """Write all lines in their new shape, failures to a file of their own if there is an `error_file`.

    For stdout, where nothing can be undone, all lines are read once before the first is written. Raises InputError,
    UsageError, OutputError, ReaderGone.
    """
    if shape.to == "parquet":
        check_parquet()
    with ExitStack() as stack:
        names = [results_of_table(name) for name in names]
        files = stack.enter_context(open_results(names))
        _check_targets(names, output, error_file)
        for file in files:
            if file.torn:
                notice(f"{file.name} ends in a piece of a line, which is left out")
        pieces = shaped_pieces(files, shape, survey=output is None)
        write = stack.enter_context(_whole_file(output, "-o")) if output is not None else stdout
        write_failure = write
        if error_file is not None:
            write_failure = stack.enter_context(_whole_file(error_file, "--error-file"))
        _pour(pieces, write, write_failure)


def _check_targets(names: Sequence[str], output: Path | None, error_file: Path | None) -> None:
    """Raise UsageError if a file that is read would be overwritten."""
    written = [] if output is not None else [NamedFile("stdout", 1)]
    for option, path in (("-o", output), ("--error-file", error_file)):
        if path is not None:
            if os.path.exists(path) and not os.path.isfile(path):
                raise UsageError(f"{option} {path} is not a regular file", "Leave it out to write to stdout.")
            written.append(NamedFile(f"{option} {path}", path))
    check_files(written, *results_read(names))


def shaped_pieces(files: Sequence[ResultsReader], shape: Shape, *, survey: bool = False) -> Iterator[_Piece]:
    """Yield what is to be written. With `survey` all lines are read first, to find one that has no such shape.

    Raises UsageError.
    """
    if shape.to == "parquet":
        return ((piece, False) for piece in parquet_pieces(_lines_of(files), _survey(files, shape.meta)))
    if shape.to in _DELIMITERS:
        return _table(files, _columns(files, shape.meta), shape)
    if survey:
        deque(_lines(files, shape), maxlen=0)
    return _lines(files, shape)


def _lines(files: Sequence[ResultsReader], shape: Shape) -> Iterator[_Piece]:
    reshape = SHAPES["raw" if shape.raw else shape.to]
    for file, line in _results(files):
        try:
            yield reshape(line)
        except Missing as error:
            raise UsageError(
                f"{_answer(file, line)} {error}",
                f"{shape.to} lines consist of what was sent or answered: llmbatch run … --include "
                f"{','.join(error.parts)} keeps it.",
            ) from None
        except ValueError as error:
            raise UsageError(f"{_answer(file, line)} {error}") from error


def _table(files: Sequence[ResultsReader], columns: Columns, shape: Shape) -> Iterator[_Piece]:
    delimiter, safe = _DELIMITERS[shape.to], shape.safe
    yield (MARK if shape.mark else b"") + row(columns.names(), delimiter, safe=safe), False
    for file, line in _results(files):
        try:
            yield row(columns.row(line), delimiter, safe=safe), False
        except ValueError as error:
            raise UsageError(f"{_answer(file, line)} {error}") from error


def _survey(files: Sequence[ResultsReader], meta: Sequence[str] | None) -> Survey:
    survey = Survey(meta)
    for file, line in _results(files):
        survey.add(line)
        if len(survey.meta) > _MOST_COLUMNS:
            raise _too_many(file)
    return survey


def _columns(files: Sequence[ResultsReader], chosen: Sequence[str] | None) -> Columns:
    """Read all lines; return their fields of meta, unless they are chosen, and of answers in JSON, as they appear.

    Raises UsageError when there are too many to be columns.
    """
    names: dict[str, dict[str, Any]] = {"meta": {}, "json": {}}
    sampled = False
    for file, line in _results(files):
        sampled = sampled or "sample" in line
        for part, found in names.items():
            fields = line.get(part)
            if isinstance(fields, dict) and (part == "json" or chosen is None):
                found |= dict.fromkeys(fields)
            if len(found) > _MOST_COLUMNS:
                raise _too_many(file, part)
    return Columns(tuple(names["meta"]) if chosen is None else chosen, tuple(names["json"]), sampled)


def _too_many(file: ResultsReader, part: str = "meta") -> UsageError:
    if part == "json":
        return UsageError(f"{file.name}: json has more than {_MOST_COLUMNS:,} different fields", "Use --to parquet.")
    return UsageError(
        f"{file.name}: meta has more than {_MOST_COLUMNS:,} different fields",
        "--meta-columns a,b,c names those that become columns, --meta-columns none has none.",
    )


def _results(files: Sequence[ResultsReader]) -> Iterator[tuple[ResultsReader, dict[str, Any]]]:
    return ((file, line) for file in files for line in file.results())


def _lines_of(files: Sequence[ResultsReader]) -> Iterator[dict[str, Any]]:
    return (line for _, line in _results(files))


def _answer(file: ResultsReader, line: dict[str, Any]) -> str:
    return f"{file.name}: the answer to record {line['index']} (id {line.get('id')!r})"


def _pour(pieces: Iterator[_Piece], write: Write, write_failure: Write) -> None:
    """Join pieces into portions, so that few writes are needed."""
    good, bad = _Portion(write), _Portion(write_failure)
    apart = write_failure is not write
    for piece, failed in pieces:
        (bad if failed and apart else good).add(piece)
    good.pour()
    bad.pour()


class _Portion:
    """Collects pieces until they are worth a write."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        self._waiting.append(piece)
        self._size += len(piece)
        if self._size >= _PIECE:
            self.pour()

    def pour(self) -> None:
        if self._waiting:
            self._write(b"".join(self._waiting))
        self._waiting.clear()
        self._size = 0


@contextmanager
def _whole_file(path: Path, option: str) -> Iterator[Write]:
    """Yield a function that writes; the file gets its name when the context ends without an error. Raises OutputError.

    A new file is private to its owner, one that is replaced keeps its mode.
    """
    try:
        with disk.whole_file(resolve_target(path, f"{option} {path}")) as write:
            yield write
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}", "Nothing of it was kept; make room."
        ) from error
