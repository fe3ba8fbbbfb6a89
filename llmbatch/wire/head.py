"""The head of a request as it goes over the wire."""

from dataclasses import dataclass

import httpx

__all__ = ["BODY_FIELDS", "Head"]

BODY_FIELDS = ("content-length", "transfer-encoding")
"""Headers that follow from the body. Lanes send bodies whole, with their length."""


@dataclass(frozen=True, slots=True)
class Head:
    """What all requests to one path have in common. `raw` is that rendered, up to where the body's length goes."""

    method: str
    url: httpx.URL
    headers: httpx.Headers
    raw: bytes

    @classmethod
    def of(cls, request: httpx.Request) -> "Head":
        """Take the head of a request, whatever its body. Raises LocalProtocolError for what would forge others."""
        headers = request.headers.copy()
        for name in BODY_FIELDS:
            headers.pop(name, None)
        return cls(request.method, request.url, headers, _rendered(request.method, request.url, headers))


def _rendered(method: str, url: httpx.URL, headers: httpx.Headers) -> bytes:
    lines = [method.encode("ascii"), b" ", url.raw_path, b" HTTP/1.1\r\n"]
    for name, value in headers.raw:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"content-length: ")
    head = b"".join(lines)
    # Counting is the cheapest proof that no value smuggles a line in; the message must not show the value.
    if not head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r") == len(headers.raw) + 1 or b"\0" in head:
        raise httpx.LocalProtocolError("a header holds a line break or NUL")
    return head
