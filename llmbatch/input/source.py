"""Opens the inputs of a run, files and stdin, one after the other, each by its format."""

import fnmatch
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from llmbatch.core.errors import InputError, UsageError
from llmbatch.input.address import is_remote, shown, suffix_of
from llmbatch.input.byte_stream import COMPRESSIONS, ByteStream, Span, Wake, check, not_there, title
from llmbatch.input.entry import Entry, Reader
from llmbatch.input.jsonl import JsonLines, TextLines
from llmbatch.input.lines import Lines
from llmbatch.input.unchanged import Contents, WatchInput

if TYPE_CHECKING:
    from llmbatch.input.json_array import JsonArray
    from llmbatch.input.parquet import ParquetRows

__all__ = ["FORMATS", "Entry", "Source", "checked_delimiter", "expand", "open_source"]

FORMATS = ("jsonl", "json", "csv", "tsv", "text", "openai-batch", "anthropic-batch", "cookbook", "parquet")

LINE_FORMATS = frozenset(["jsonl", "text", "openai-batch", "anthropic-batch", "cookbook"])
"""Those with a record on each line."""

_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".parquet": "parquet",
}

_Read = TypeVar("_Read")


class Source:
    """The entries of all inputs, in order.

    `read` is for one thread; `interrupt` may be called from any other.
    """

    def __init__(
        self,
        inputs: Sequence[tuple[str, str, Span | None]],
        *,
        size: int | None,
        max_line: int,
        delimiter: str | None,
    ) -> None:
        self._delimiter = delimiter
        self._inputs = list(reversed(inputs))
        self._several = len(inputs) > 1
        self._max_line = max_line
        self._size, self._passed = size, 0
        self._wake = Wake()
        self._stream: ByteStream | ParquetRows | None = None
        self._returned: Lines | JsonArray | ParquetRows | None = None
        """What counts the bytes of the records that were returned: many more may have been read ahead."""
        self._reader: Reader | None = None
        self._watch: WatchInput | None = None

    def read(self, limit: int) -> list[Entry]:
        """Return what is there now, at least one entry and at most `limit`; an empty list at the end.

        Blocks while there is nothing. Raises InputError.
        """
        return self._next(lambda reader: reader.read(limit)) or []

    def skip(self, limit: int) -> int:
        """Pass over at most `limit` entries without looking into them; return how many, none at the end.

        Blocks while there is nothing. Raises InputError.
        """

        def passed(reader: Reader) -> int:
            return reader.skip(limit) if isinstance(reader, JsonLines | TextLines) else len(reader.read(limit))

        return self._next(passed) or 0

    def record(self) -> Contents:
        """Take note of all bytes that are read from here on."""
        contents = Contents()
        self._watch = contents.record
        return contents

    def expect(self, contents: Contents) -> None:
        """Raise InputError where the inputs are not what they were in an earlier pass."""
        self._watch = contents.compare()

    def _next(self, read: Callable[[Reader], _Read]) -> _Read | None:
        """Return what is read from the first input that has something; None at the end."""
        while not self._wake.raised:
            if self._reader is None:
                if not self._inputs:
                    break
                self._reader = self._open(*self._inputs.pop())
            try:
                found = read(self._reader)
            except InputError:
                if self._wake.raised:  # an input that was interrupted may look broken
                    break
                raise
            if self._wake.raised:
                break
            if found:
                return found
            self._close_current()
        return None

    @property
    def fraction(self) -> float | None:
        """The share of the bytes that the entries so far stand for, from 0 to 1; None when an input has no size."""
        if not self._size:
            return None
        returned = self._returned
        return min(1.0, (self._passed + (0 if returned is None else returned.bytes_read)) / self._size)

    def interrupt(self) -> None:
        """Make a blocked `read` return an empty list at once, and every later one."""
        self._wake.ring()

    def close(self) -> None:
        """Close what is open; `read` must have returned."""
        self._wake.raised = True
        self._close_current()
        self._wake.close()

    def _close_current(self) -> None:
        if self._stream is not None:
            self._returned = None
            self._passed += self._stream.bytes_read
            self._stream.close()
        self._stream = self._reader = None

    def _open(self, path: str, form: str, span: Span | None) -> Reader:
        name = title(path)
        inside = span is not None and span[0] > 0
        prefix = f"{name} " if self._several or inside else ""
        watch = self._watch(name) if self._watch is not None else None
        if form == "parquet":
            from llmbatch.input.parquet import ParquetRows

            self._stream = self._returned = rows = ParquetRows(path, name=name, prefix=prefix, watch=watch, groups=span)
            return rows
        if span is not None and inside:
            prefix += f"after byte {span[0]} "
        self._stream = stream = ByteStream(path, self._wake, watch, span)
        match form:
            case "json":
                from llmbatch.input.json_array import JsonArray

                self._returned = array = JsonArray(stream, self._wake, name=name, prefix=f"{prefix}element ")
                return array
            case "csv" | "tsv":
                from llmbatch.input.csv_rows import LINE_FIELDS, CsvRows

                delimiter = self._delimiter or ("," if form == "csv" else "\t")
                self._returned = lines = Lines(stream, LINE_FIELDS * self._max_line)
                return CsvRows(lines, delimiter=delimiter, max_field=self._max_line, name=name, prefix=prefix)
            case "text":
                self._returned = lines = Lines(stream, self._max_line, inside=inside)
                return TextLines(lines, prefix=f"{prefix}line ")
            case _:
                self._returned = lines = Lines(stream, self._max_line, inside=inside)
                return JsonLines(lines, name=name, prefix=f"{prefix}line ", recognised=inside)


def checked_delimiter(text: str | None) -> str | None:
    """Return the delimiter that an option names, also as `tab`. Raises UsageError for what cannot separate values."""
    delimiter = "\t" if text in ("tab", "\\t") else text
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise UsageError(f"--delimiter {text!r} is not one character", "Examples: --delimiter ';', --delimiter tab")
    return delimiter


def expand(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the files that inputs stand for: those of a known format in a folder, the matches of a pattern.

    Both in the order of names, without the results files of runs, which have a FILE.state beside them. A file whose
    name looks like a pattern is itself. The same for addresses in object stores. Raises InputError for a folder or a
    pattern without a file.
    """
    return tuple(file for path in paths for file in _expanded(path))


def _expanded(path: str) -> Iterator[str]:
    if is_remote(path):
        from llmbatch.input import remote  # few runs have one

        yield from remote.expanded(path, [*_SUFFIXES], [*COMPRESSIONS])
    elif os.path.isdir(path):
        files = [file for file in _inside(path) if _suffix(file) in _SUFFIXES]
        if not files:
            raise InputError(f"{path} is a folder without a file of a known format", f"Known: {', '.join(_SUFFIXES)}.")
        yield from files
    elif path == "-" or os.path.lexists(path) or not glob.has_magic(path):
        yield path
    else:
        matches = sorted(glob.glob(os.path.expanduser(path), recursive=True))
        files = [file for file in matches if not os.path.isdir(file) and not _belongs_to_run(file)]
        if not files and " " in path and "*" not in path:
            raise not_there(path)  # more likely a question than a pattern with a question mark
        if not files:
            raise InputError(
                f"no file matches {path}", "Put a pattern into quotes, and look at the folder it begins in."
            )
        yield from files


def would_be_read(file: str, paths: Sequence[str]) -> bool:
    """Say whether a folder or a pattern among the inputs would include `file` if it existed."""
    target = os.path.realpath(file)
    for path in paths:
        if os.path.isdir(path):
            is_included = os.path.dirname(target) == os.path.realpath(path) and _suffix(target) in _SUFFIXES
        elif glob.has_magic(path) and not os.path.lexists(path):
            is_included = fnmatch.fnmatch(target, os.path.realpath(os.path.expanduser(path)))
        else:
            continue
        if is_included:
            return True
    return False


def _inside(folder: str) -> list[str]:
    """Return the files of a folder, without hidden ones."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from error
    files = [os.path.join(folder, name) for name in names if not name.startswith(".")]
    return [file for file in files if not os.path.isdir(file) and not _belongs_to_run(file)]


def _belongs_to_run(file: str) -> bool:
    return os.path.isdir(f"{file}.state")


def open_source(
    paths: Sequence[str],
    *,
    format: str | None,
    max_line: int,
    delimiter: str | None = None,
    spans: Sequence[Span | None] = (),
) -> Source:
    """Open inputs; no path and "-" are stdin. `max_line` is in bytes, `delimiter` is that of CSV and TSV.

    `spans` has one entry for each path, if any: only that part of it is read. Raises InputError when an input cannot
    be read, UsageError when a format is unknown or needs an extra.
    """
    names = list(paths) or ["-"]
    if names.count("-") > 1:
        raise UsageError("stdin can be read only once, but - is given twice")
    inputs = [
        (path, format_of(path, format, delimiter), span)
        for path, span in zip(names, spans or [None] * len(names), strict=True)
    ]
    sizes = [_size(check(path, is_text=form != "parquet"), form, span) for path, form, span in inputs]
    size = None if None in sizes else sum(filter(None, sizes))
    return Source(inputs, size=size, max_line=max_line, delimiter=delimiter)


def _size(size: int | None, form: str, span: Span | None) -> int | None:
    """Return how many bytes of an input are read; a span of Parquet counts row groups, not bytes."""
    if size is None or span is None or form == "parquet":
        return size
    return (size if span[1] is None else span[1]) - span[0]


def _suffix(path: str) -> str:
    """Return the suffix that names the format, in front of that of a compression."""
    stem, suffix = os.path.splitext(shown(path).lower())
    return os.path.splitext(stem)[1] if suffix in COMPRESSIONS else suffix


def format_of(path: str, option: str | None, delimiter: str | None) -> str:
    """Return the format of an input, by its name if no option says it. Raises UsageError."""
    form = option or _SUFFIXES.get(_suffix(path), "jsonl" if delimiter is None else "csv")
    if delimiter is not None and form not in ("csv", "tsv"):
        raise UsageError(f"--delimiter goes with CSV and TSV, and {title(path)} is read as {form}", "Leave it out.")
    if form not in FORMATS:
        raise UsageError(f"no input format is called {form!r}", hint=f"--input-format {'|'.join(FORMATS)}")
    if form == "parquet":
        if path == "-" or suffix_of(path) in COMPRESSIONS or (os.path.exists(path) and not os.path.isfile(path)):
            raise UsageError(f"{title(path)}: Parquet is read from a plain file", hint="its index stands at its end")
        from llmbatch.input.parquet import check_parquet

        check_parquet()
    return form
