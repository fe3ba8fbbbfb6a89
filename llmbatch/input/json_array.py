"""Reads the elements of a JSON array, which is loaded as one value."""

from llmbatch.codec.json import is_deeper, loads
from llmbatch.core.errors import InputError
from llmbatch.input.byte_stream import ByteStream, Wake
from llmbatch.input.entry import DEEPEST, Entry, outline

__all__ = ["JsonArray"]

_LARGEST = 256 << 20


class JsonArray:
    """Reads the elements of an array."""

    def __init__(self, stream: ByteStream, wake: Wake, *, name: str, prefix: str) -> None:
        self._stream, self._wake, self._name, self._prefix = stream, wake, name, prefix
        self._elements: list[object] | None = None
        self._number = 0

    def read(self, limit: int) -> list[Entry]:
        """Return at most `limit` entries; an empty list at the end. Raises InputError."""
        if self._elements is None:
            self._elements = self._load()
            self._elements.reverse()
        entries: list[Entry] = []
        while self._elements and len(entries) < limit:
            self._number += 1
            entries.append(_entry(f"{self._prefix}{self._number}", self._elements.pop()))
        return entries

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file the elements stand for that were returned."""
        left = len(self._elements or ())
        return self._stream.bytes_read * self._number // (self._number + left) if self._number else 0

    def _load(self) -> list[object]:
        chunks: list[bytes] = []
        size = 0
        while chunk := self._stream.read():
            chunks.append(chunk)
            size += len(chunk)
            if size > _LARGEST:
                raise self._input_error("is larger than 256 MB, the most that is read as one JSON array")
        if self._wake.raised:
            return []
        text = b"".join(chunks).removeprefix(b"\xef\xbb\xbf")
        chunks.clear()
        if not text.strip():
            return []
        try:
            elements = loads(text)
        except (ValueError, RecursionError) as error:
            at = f"line {getattr(error, 'lineno', '?')} column {getattr(error, 'colno', '?')}"
            raise self._input_error(f"is not a JSON array: {at}: {getattr(error, 'msg', error)}") from error
        if not isinstance(elements, list):
            raise self._input_error("is JSON, but not an array")
        return elements

    def _input_error(self, what: str) -> InputError:
        return InputError(
            f"{self._name} {what}",
            hint=f"for JSON Lines: --input-format jsonl; else: jq -c '.[]' {self._name} | llmbatch run …",
        )


def _entry(where: str, value: object) -> Entry:
    if is_deeper(value, DEEPEST):
        return Entry(where, None, f"{where}: nested deeper than {DEEPEST} levels", outline(value))
    return Entry(where, value)
