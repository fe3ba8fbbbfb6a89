"""An answer before it is put on the wire."""

from dataclasses import dataclass, field
from typing import Any

from llmbatch.codec import json

__all__ = ["HTML", "JSON", "Headers", "Reply", "error_body", "refusal"]

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"


@dataclass(slots=True)
class Reply:
    """Status, body, and what is unusual about them."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = field(default_factory=list)
    pieces: list[bytes] | None = None
    """The body of a stream: sent chunked, piece by piece, instead of `body`."""
    tail: bytes = b""
    """Bytes that follow the answer though nobody asked for them."""

    @property
    def content(self) -> bytes:
        """The whole body, streamed or not."""
        return self.body if self.pieces is None else b"".join(self.pieces)


def error_body(message: str, kind: str | None, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return the error object of OpenAI, all four keys present."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(
    status: int,
    message: str,
    kind: str = "invalid_request_error",
    *,
    param: str | None = None,
    code: str | None = None,
) -> Reply:
    """Return an error answer."""
    return Reply(status, json.dumps(error_body(message, kind, param=param, code=code)))
