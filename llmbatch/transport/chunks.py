"""Joins the chunks of a body whatever their extensions say, for servers whose chunks the parser refuses. Pure."""

import re

__all__ = ["Chunks"]

_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


class Chunks:
    """The chunked coding (RFC 9112, 7.1): a recipient ignores extensions, so their syntax does not matter."""

    def __init__(self) -> None:
        self.ended = False
        """Whether the last chunk and the trailers have come."""
        self._rest = b""
        self._missing = 0
        self._in_trailers = self._after_data = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the wire and return those of the body. Raises ValueError for what is no chunk."""
        rest, pieces = self._rest + data, list[bytes]()
        while not self.ended:
            if self._missing:
                piece = rest[: self._missing]
                pieces.append(piece)
                rest, self._missing = rest[len(piece) :], self._missing - len(piece)
                if self._missing:
                    break
                self._after_data = True
            line, found, after = rest.partition(b"\n")
            if not found:
                break
            rest = after
            self._read_line(line.removesuffix(b"\r"))
        self._rest = rest
        return b"".join(pieces)

    def _read_line(self, line: bytes) -> None:
        if self._in_trailers:
            self.ended = not line
        elif self._after_data:
            if line:
                raise ValueError("a chunk is longer than its size")
            self._after_data = False
        else:
            size = _SIZE.fullmatch(line)
            if size is None:
                raise ValueError("a chunk has no size")
            self._missing = int(size[1], 16)
            self._in_trailers = not self._missing
