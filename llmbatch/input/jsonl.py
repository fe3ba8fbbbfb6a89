"""Inputs with one record a line: JSON Lines and plain text."""

from llmbatch.codec.json import is_deeper, line_parser
from llmbatch.core.errors import InputError
from llmbatch.input.entry import DEEPEST, Entry, marked
from llmbatch.input.lines import Lines, Oversized

__all__ = ["JsonLines", "TextLines"]

_SEPARATOR = b"\x1e"
"""Begins each record of a JSON text sequence (RFC 7464), as `jq --seq` writes it."""
_FOREIGN_LINES = 10
"""When so many first lines are not JSON, the input has another format."""


class JsonLines:
    """Reads one JSON value a line. Unless the format is `recognised`, the first lines must show that it is JSON."""

    def __init__(self, lines: Lines, *, name: str, prefix: str, recognised: bool = False) -> None:
        self._lines, self._name, self._prefix = lines, name, prefix
        self._number = 0
        self._recognised = recognised
        self._kept: list[Entry] = []

    def read(self, limit: int) -> list[Entry]:
        """Return what is there, at least one entry, at most `limit`; none at the end. Raises InputError."""
        if not self._recognised:
            self._recognise()
        if self._kept:
            entries, self._kept = self._kept[:limit], self._kept[limit:]
            return entries
        return self._parse(limit)

    def skip(self, limit: int) -> int:
        """Pass over at most `limit` entries, which an earlier pass has read; return how many. Raises InputError."""
        self._recognised = True
        if self._kept:
            return len(self.read(limit))
        passed, lines = _skip(self._lines, limit)
        self._number += lines
        return passed

    def _recognise(self) -> None:
        """Keep the first lines until one is JSON, or until they are so many that the input has another format.

        A first line that is an array is kept until there is another: alone it is a JSON array of records.
        """
        while len(self._kept) < _FOREIGN_LINES and (not self._recognised or self._is_one_array()):
            entries = self._parse(_FOREIGN_LINES - len(self._kept))
            if not entries:
                break
            self._kept += entries
        if self._is_one_array():
            raise InputError(f"{self._name}: its only line is a JSON array", "--input-format json reads its elements.")
        if self._kept and self._kept[0].digest.strip() == b"[":
            raise InputError(f"{self._name}: its first line begins an array", _other_format(self._kept[0]))
        if self._kept and not self._recognised:
            count = len(self._kept)
            which = "its only line is not JSON" if count == 1 else f"none of its first {count} lines is JSON"
            raise InputError(f"{self._name}: {which} ({self._kept[0].error})", hint=_other_format(self._kept[0]))
        self._recognised = True

    def _is_one_array(self) -> bool:
        value = self._kept[0].value if len(self._kept) == 1 else None
        return isinstance(value, list) and bool(value) and isinstance(value[0], dict | str)

    def _parse(self, limit: int) -> list[Entry]:
        entries: list[Entry] = []
        while not entries:
            lines = self._lines.read(limit)
            if not lines:
                break
            if isinstance(lines[0], bytes) and lines[0].startswith(_SEPARATOR):
                lines = [line.removeprefix(_SEPARATOR) if isinstance(line, bytes) else line for line in lines]
            number = self._number
            loads = line_parser([line for line in lines if not isinstance(line, Oversized)])
            for line in lines:
                number += 1
                if isinstance(line, Oversized):
                    entries.append(_oversized(f"{self._prefix}{number}", line, self._lines.max_line))
                    self._recognised = True  # it may well be JSON
                    continue
                try:
                    value = loads(line)
                except (ValueError, RecursionError) as error:
                    if line.strip():
                        entries.append(self._error_entry(f"{self._prefix}{number}", line, error))
                    continue
                self._recognised = True
                if len(line) > 2 * DEEPEST and _may_be_deep(line) and is_deeper(value, DEEPEST):
                    entries.append(_nested(f"{self._prefix}{number}", line))
                else:
                    entries.append(Entry(f"{self._prefix}{number}", value))
            self._number = number
        return entries

    def _error_entry(self, where: str, line: bytes, error: Exception) -> Entry:
        message = getattr(error, "msg", str(error))
        if isinstance(error, RecursionError) or message == "depth limit exceeded":
            self._recognised = True  # the parser notices only after many brackets, which are JSON
            return _nested(where, line)
        try:
            line.decode()
        except UnicodeDecodeError as flaw:
            return Entry(where, None, _not_utf8(where, line, flaw), line)
        column = getattr(error, "colno", None)
        at = where if column is None else f"{where} column {column}"
        return Entry(where, None, f"{at}: not JSON: {message}", line)


class TextLines:
    """Reads one prompt a line."""

    def __init__(self, lines: Lines, *, prefix: str) -> None:
        self._lines, self._prefix = lines, prefix
        self._number = 0

    def skip(self, limit: int) -> int:
        """Pass over at most `limit` entries; return how many. Raises InputError."""
        passed, lines = _skip(self._lines, limit)
        self._number += lines
        return passed

    def read(self, limit: int) -> list[Entry]:
        """Return what is there, at least one entry, at most `limit`; none at the end. Raises InputError."""
        entries: list[Entry] = []
        while not entries and (lines := self._lines.read(limit)):
            for line in lines:
                self._number += 1
                where = f"{self._prefix}{self._number}"
                if isinstance(line, Oversized):
                    entries.append(_oversized(where, line, self._lines.max_line))
                elif line.strip():
                    entries.append(_text(where, line))
        return entries


def _skip(lines: Lines, limit: int) -> tuple[int, int]:
    """Pass over at most `limit` lines that are not blank, at least one if there are any; count them, and all lines."""
    passed = number = 0
    while not passed and (batch := lines.read(limit)):
        number += len(batch)
        passed = sum(1 for line in batch if isinstance(line, Oversized) or line.strip())
    return passed, number


def _text(where: str, line: bytes) -> Entry:
    try:
        return Entry(where, {"prompt": line.removesuffix(b"\r").decode()})
    except UnicodeDecodeError as flaw:
        return Entry(where, None, _not_utf8(where, line, flaw), line)


def _not_utf8(where: str, line: bytes, flaw: UnicodeDecodeError) -> str:
    column = len(line[: flaw.start].decode()) + 1
    return f"{where} column {column}: not UTF-8 (byte 0x{line[flaw.start]:02x})"


def _other_format(first: Entry) -> str:
    """Name the format that lines may have that are not JSON, by the first of them."""
    match first.digest.strip()[:1]:
        case b"[":
            return "--input-format json reads an array that is written over several lines"
        case b"{" if first.digest.rstrip().endswith(b","):
            return "sed 's/,[[:space:]]*$//' removes the commas at the ends of lines"
        case b"{" if first.digest.lstrip(b" {\t").startswith(b"'"):
            return "its quotes are Python's: json.dumps writes JSON, print and str do not"
        case b"{":
            return "jq -c . writes objects that go over several lines on one each; an array is --input-format json"
    return "--input-format text makes every line a prompt; json, csv and tsv are formats too"


def _may_be_deep(line: bytes) -> bool:
    return line.count(b"[") + line.count(b"{") > DEEPEST


def _nested(where: str, line: bytes) -> Entry:
    return Entry(where, None, f"{where}: nested deeper than {DEEPEST} levels", line)


def _oversized(where: str, line: Oversized, max_line: int) -> Entry:
    error = f"{where} column {max_line + 1}: {line.length:,} bytes are more than --max-line {max_line:,}"
    return Entry(where, None, error, marked(line.head, line.length))
