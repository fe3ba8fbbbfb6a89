"""An HTTP reply before it is written to a connection."""

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["HTML", "JSON", "Headers", "Reply"]

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"


@dataclass(slots=True)
class Reply:
    """Status, headers and body."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = field(default_factory=list)
    pieces: Iterable[bytes] | None = None
    """A body that is sent piece by piece instead of `body`: chunked, unless `size` tells how long it is."""
    size: int | None = None
    tail: bytes = b""
    """Stray bytes that follow the answer."""

    @property
    def content(self) -> bytes:
        """The whole body, streamed or not."""
        return self.body if self.pieces is None else b"".join(self.pieces)
