"""The head of a request as it goes over the wire."""

from dataclasses import dataclass

import httpx

__all__ = ["Head", "rendered"]


@dataclass(frozen=True, slots=True)
class Head:
    """What all requests with a body of one size to one path have in common, rendered once as `raw`."""

    method: str
    url: httpx.URL
    headers: httpx.Headers
    raw: bytes

    @classmethod
    def of(cls, request: httpx.Request) -> "Head":
        """Take the head of a request. Raises LocalProtocolError for what would forge others."""
        return cls(request.method, request.url, request.headers, rendered(request))


def rendered(request: httpx.Request) -> bytes:
    """Return line and headers as they go over the wire. Raises LocalProtocolError for what would forge others."""
    headers = request.headers.raw
    lines = [request.method.encode("ascii"), b" ", request.url.raw_path, b" HTTP/1.1\r\n"]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    head = b"".join(lines)
    # Counting is the cheapest proof that no value smuggles a line in; the message must not show the value.
    if not head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r") == len(headers) + 2 or b"\0" in head:
        raise httpx.LocalProtocolError("a header holds a line break or NUL")
    return head
