"""The head of a request as it goes over the wire."""

import httpx

__all__ = ["rendered"]


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
