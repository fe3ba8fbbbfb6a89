"""Rows of CSV and TSV as objects of strings, streamed."""

import csv
from collections import deque

from llmbatch.core.errors import InputError
from llmbatch.input.entry import Entry, marked
from llmbatch.input.lines import Lines, Oversized

__all__ = ["LINE_FIELDS", "CsvRows"]

LINE_FIELDS = 4
"""A line of a table may be this many times as long as a field."""

_BATCH = 64


_SAMPLE = 20
"""Lines behind a quote that does not close that are looked at, to tell rows from the rest of a long field."""


class CsvRows:
    """Reads rows, the first of which names the fields.

    A row with too few values lacks the last fields; one with too many is an error. A quote that does not close, or
    closes in the middle of a value of a later line, fails its own line. The lines behind it are read as rows again, and
    must have as many values as the header. Rows are numbered as in a spreadsheet: the header is row 1.
    """

    def __init__(self, lines: Lines, *, delimiter: str, max_field: int, name: str, prefix: str) -> None:
        self._feed = _Feed(lines)
        self._rows = csv.reader(self._feed, delimiter=delimiter, strict=True)
        self._delimiter = delimiter
        self._max_field, self._name, self._prefix = max_field, name, prefix
        self._header: list[str] = []
        self._number = 0
        self._inside_quotes = False

    def read(self, limit: int) -> list[Entry]:
        """Return what is there, at least one entry, at most `limit`; none at the end. Raises InputError."""
        csv.field_size_limit(self._max_field)  # the csv module has one limit for all readers
        entries: list[Entry] = []
        while len(entries) < limit:
            self._feed.start(may_wait=not entries)
            if self._inside_quotes:
                if not self._skip_field():
                    break
                continue
            try:
                row = next(self._rows)
            except StopIteration:
                break
            except csv.Error as error:
                if self._feed.paused:  # inside a quoted field whose end has not come yet
                    self._feed.restart()
                    break
                entries.append(self._after_open_quote(str(error)) or self._error_entry(str(error)))
                self._inside_quotes = self._feed.lost and self._feed.quotes % 2 == 1
                continue
            self._number += 1
            if not row:
                continue
            if not self._header and (delimiter := _named_delimiter(row)) is not None:
                self._delimiter, self._number = delimiter, 0
                self._rows = csv.reader(self._feed, delimiter=delimiter, strict=True)
            elif not self._header:
                self._header = self._column_names(row)
            elif self._feed.flaw is not None:
                entries.append(self._error_entry(self._feed.flaw, count=False))
            elif (flaw := self._wrong_width(row)) is not None:
                entries.append(self._error_entry(flaw, count=False))
            else:
                entries.append(Entry(self._where(), dict(zip(self._header, row, strict=False)), all_text=True))
        return entries

    def _wrong_width(self, row: list[str]) -> str | None:
        """Say why a row has too many or too few values; None when it has neither."""
        width = len(self._header)
        if len(row) > width or (len(row) < width and self._feed.is_released):
            cause = ", and a quote that is opened before does not close" if self._feed.is_released else ""
            return f"{len(row)} values, but the header names {width}{cause}"
        return None

    def _after_open_quote(self, error: str) -> Entry | None:
        """Fail the first line of a row whose quote does not close, and release the others; None for another error."""
        lines = self._feed.lines
        if not self._header or len(lines) < 2 or self._feed.lost:
            return None
        if error.startswith("field larger") and not self._are_rows(lines[1 : 1 + _SAMPLE]):
            return None
        self._feed.release()
        never = error == "unexpected end of data" or error.startswith("field larger")
        return self._error_entry(f"a quote is opened and {'never closed' if never else f'closed too late: {error}'}")

    def _are_rows(self, lines: list[bytes | Oversized]) -> bool:
        """Say whether each line has as many values as the header, and more than one."""
        texts = [line.decode(errors="replace") for line in lines if isinstance(line, bytes)]
        widths = {len(row) for row in csv.reader(texts, delimiter=self._delimiter)}
        return widths == {len(self._header)} and len(self._header) > 1

    def _column_names(self, row: list[str]) -> list[str]:
        flaw = self._feed.flaw
        names = [name or f"column_{number}" for number, name in enumerate(row, 1)]
        if flaw is None and len(set(names)) < len(names):
            flaw = f"two columns are named {next(name for name in names if names.count(name) > 1)!r}"
        if flaw is not None:
            raise self._input_error(flaw)
        return names

    def _input_error(self, flaw: str) -> InputError:
        if flaw.startswith("new-line character"):
            return InputError(f"{self._name}: its lines end in CR alone", "tr '\\r' '\\n' < FILE makes lines of them")
        return InputError(f"{self._name}: the header is not usable: {flaw}", hint="row 1 names the columns, each once")

    def _where(self) -> str:
        return f"{self._prefix}row {self._number} (line {self._feed.first})"

    def _error_entry(self, flaw: str, *, count: bool = True) -> Entry:
        self._number += count
        if flaw.startswith("field larger"):
            flaw, self._feed.lost = f"a field is longer than --max-line {self._max_field:,}", True
        elif flaw == "unexpected end of data":
            flaw = "a quote is opened and never closed"
        if not self._header:
            raise self._input_error(flaw)
        where = self._where()
        return Entry(where, None, f"{where}: {flaw}", self._feed.digest())

    def _skip_field(self) -> bool:
        """Drop lines until the quoted field that was given up ends; say whether it has ended."""
        while True:
            try:
                next(self._feed)
            except StopIteration:
                return False
            except csv.Error:  # a line that is too long, and is dropped anyway
                pass
            if self._feed.quotes % 2 == 1:
                self._inside_quotes = False
                return True
            self._feed.start(may_wait=self._feed.may_wait)


def _named_delimiter(row: list[str]) -> str | None:
    """Return the delimiter that a first line such as `sep=;` names, which Excel reads and writes; None for a header."""
    if not row[0].startswith("sep=") or len(row) > 2:
        return None
    named = row[0].removeprefix("sep=") or ("," if row == ["sep=", ""] else "")
    return named if len(named) == 1 else None


class _Feed:
    """Feeds lines as text to the csv module, and remembers those of the current row."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._ready: deque[bytes | Oversized] = deque()
        self._row: list[bytes | Oversized] = []
        self.may_wait = True
        self.paused = False
        """The current row has no end yet, and waiting for it was not allowed."""
        self.lost = False
        """The current row was given up before its end."""
        self.flaw: str | None = None
        self.quotes = 0
        self.first = 1
        """The number of the row's first line."""
        self._released = 0
        """The number of the last line that was released."""

    def start(self, *, may_wait: bool) -> None:
        """Begin a row."""
        self.first += len(self._row)
        self._row.clear()
        self.may_wait, self.paused, self.lost, self.flaw, self.quotes = may_wait, False, False, None, 0

    @property
    def lines(self) -> list[bytes | Oversized]:
        """The lines of the current row."""
        return self._row

    @property
    def is_released(self) -> bool:
        """Whether the current row begins with a line that an earlier row released."""
        return self.first <= self._released

    def release(self) -> None:
        """Put back all lines of the row but the first, which then is the row."""
        self._released = max(self._released, self.first + len(self._row) - 1)
        self._ready.extendleft(reversed(self._row[1:]))
        del self._row[1:]

    def restart(self) -> None:
        """Put back the lines of the row, to begin it again later."""
        self._ready.extendleft(reversed(self._row))
        self._row.clear()

    def digest(self) -> bytes:
        """Return the bytes that identify the current row."""
        lines = [line if isinstance(line, bytes) else marked(line.head, line.length) for line in self._row]
        row = b"\n".join(lines)
        return row if len(row) < self._lines.max_line else marked(row, len(row))

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        if not self._ready:
            if not self.may_wait and not self._lines.is_ready():
                self.paused = True
                raise StopIteration
            self._ready.extend(self._lines.read(_BATCH))
            if not self._ready:
                raise StopIteration
        line = self._ready.popleft()
        self._row.append(line)
        if isinstance(line, Oversized):
            self.quotes += line.quotes
            self.lost = True
            raise csv.Error(f"a line of {line.length:,} bytes is longer than {LINE_FIELDS} times --max-line")
        self.quotes += line.count(b'"')
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            text = line.decode(errors="surrogateescape")
            self._fault(line[: error.start], f"not UTF-8 (byte 0x{line[error.start]:02x})")
        if "\0" in text:
            self._fault(line[: line.index(b"\0")], "a NUL character")
        return text + "\n"

    def _fault(self, before: bytes, what: str) -> None:
        column = len(before.decode(errors="surrogateescape")) + 1
        self.flaw = self.flaw or f"line {self.first + len(self._row) - 1} column {column}: {what}"
