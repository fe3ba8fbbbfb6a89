"""Splits bytes into lines, in batches. A line ends at a newline byte and nowhere else."""

from llmbatch.input.byte_stream import ByteStream
from llmbatch.input.entry import DIGEST_BYTES

__all__ = ["Lines", "Oversized"]


class Oversized:
    """A line that was too long to keep: its head, its length, and how many double quotes it has.

    The quotes tell where a CSV row ends.
    """

    __slots__ = ("head", "length", "quotes")

    def __init__(self, line: bytes) -> None:
        self.head, self.length, self.quotes = line[:DIGEST_BYTES], len(line), line.count(b'"')

    def discard(self, more: bytes) -> None:
        """Count more bytes of the line, and drop them."""
        if len(self.head) < DIGEST_BYTES:  # the head must not depend on the sizes of the pieces
            self.head += more[: DIGEST_BYTES - len(self.head)]
        self.length += len(more)
        self.quotes += more.count(b'"')


class Lines:
    """The lines of a stream, blank ones too, without their newlines and without a byte order mark.

    A stream that begins `inside` a file has no such mark.
    """

    def __init__(self, stream: ByteStream, max_line: int, *, inside: bool = False) -> None:
        self.max_line = max_line
        self._stream = stream
        self._ready: list[bytes | Oversized] = []
        self._taken = 0
        self._before = 0
        """How many bytes of the file had been read before the lines that are ready."""
        self._parts: list[bytes] = []  # of the line whose end has not come yet
        self._length = 0
        self._oversized: Oversized | None = None
        self._first = not inside
        self._ended = False

    def read(self, limit: int) -> list[bytes | Oversized]:
        """Return what is there, at least one line and at most `limit`; none at the end. Raises InputError."""
        if self._taken >= len(self._ready):
            self._before = self._stream.bytes_read
            self._ready, self._taken = self._fetch(), 0
        batch = self._ready[self._taken : self._taken + limit]
        self._taken += len(batch)
        return batch

    def is_ready(self) -> bool:
        """Tell whether `read` would return at once."""
        return self._taken < len(self._ready)

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file the lines stand for that were returned."""
        read, ready = self._stream.bytes_read, len(self._ready)
        return self._before + (read - self._before) * self._taken // ready if self._taken < ready else read

    def _fetch(self) -> list[bytes | Oversized]:
        while not self._ended:
            chunk = self._stream.read()
            if not chunk:
                self._ended = True  # a terminal could be read on after its end
                break
            pieces = chunk.split(b"\n")
            self._extend(pieces[0])
            if len(pieces) > 1:
                lines: list[bytes | Oversized] = list(pieces)
                lines.pop()
                if len(chunk) > self.max_line:
                    lines = [Oversized(piece) if len(piece) > self.max_line else piece for piece in pieces[:-1]]
                lines[0] = self._end()
                self._extend(pieces[-1])
                return lines
        return [self._end()] if self._length else []

    def _extend(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._oversized is not None:
            self._oversized.discard(piece)
        elif piece:
            self._parts.append(piece)
            if self._length > self.max_line:
                self._oversized = Oversized(b"".join(self._parts))
                self._parts.clear()

    def _end(self) -> bytes | Oversized:
        line = b"".join(self._parts) if self._oversized is None else self._oversized
        self._parts.clear()
        self._length, self._oversized = 0, None
        if self._first and isinstance(line, bytes):
            line = line.removeprefix(b"\xef\xbb\xbf")
        self._first = False
        return line
