"""Reads a file that is uploaded in a form: writes its content to disk as it comes, and keeps the other fields."""

from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from llmbatch.mock.batch_call import BadCall
from llmbatch.mock.dialect import MalformedRequest

__all__ = ["Upload"]

_LARGEST_FIELD = 2**16


class Upload:
    """A form with one part named `file`. Raises MalformedRequest for anything else."""

    def __init__(self, content_type: str, into: BinaryIO) -> None:
        from python_multipart.multipart import MultipartParser, parse_options_header

        self._options = parse_options_header
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise MalformedRequest("Could not parse multipart form: its Content-Type has no boundary.")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size = 0
        self.lines = 0
        self._into = into
        self._header = self._value = b""
        self._name = ""
        self._is_file = False
        self._text = b""
        self._last = b"\n"
        self._complete = False
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._grow("_header", data[start:end]),
            "on_header_value": lambda data, start, end: self._grow("_value", data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._end_form,
        }
        self._parser = MultipartParser(options[b"boundary"], callbacks)

    async def read(self, chunks: AsyncIterator[bytes], most: int) -> None:
        """Read the form to its end; raises BadCall for a file of more than `most` bytes."""
        from python_multipart.exceptions import MultipartParseError

        async for chunk in chunks:
            if self.size > most:
                raise BadCall(413, f"The file is larger than {most} bytes.")
            try:
                self._parser.write(chunk)
            except MultipartParseError as error:
                raise MalformedRequest(f"Could not parse multipart form: {error}") from error
        if not self._complete:
            raise MalformedRequest("Could not parse multipart form: it ends early.")
        if self._last != b"\n":
            self.lines += 1

    def _grow(self, name: str, more: bytes) -> None:
        setattr(self, name, getattr(self, name) + more)

    def _begin(self) -> None:
        self._name, self._is_file, self._text = "", False, b""
        self._header = self._value = b""

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            options = self._options(self._value)[1]
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self._is_file = self._name == "file"
            if self._is_file:
                self.filename = options.get(b"filename", b"upload").decode("utf-8", "replace")
        self._header = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._is_file:
            self._into.write(piece)
            self.size += len(piece)
            self.lines += piece.count(b"\n")
            self._last = piece[-1:] or self._last
        elif len(self._text) + len(piece) > _LARGEST_FIELD:
            raise MalformedRequest(f"The field {self._name!r} is too large.")
        else:
            self._text += piece

    def _end(self) -> None:
        if not self._is_file:
            self.fields[self._name] = self._text.decode("utf-8", "replace")

    def _end_form(self) -> None:
        self._complete = True
