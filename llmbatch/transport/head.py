"""Builds the heads of requests, each once for all lanes to a server, and mends the heads of answers."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpx

from llmbatch.core.errors import UsageError

__all__ = ["BODY_FIELDS", "Head", "Heads", "joined", "mended"]

BODY_FIELDS = ("content-length", "transfer-encoding")
"""Headers that follow from the body. Lanes send bodies with their length, never in chunks."""

REMEMBERED = 1024
"""Paths whose heads are kept: building one costs as much as sending it."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_VALUE = re.compile(r"[\t -~]*")


@dataclass(frozen=True, slots=True)
class Head:
    """What all requests to one path have in common. `raw` is that in bytes, up to where the body's length goes."""

    method: str
    url: httpx.URL
    headers: httpx.Headers
    raw: bytes

    @classmethod
    def of(cls, request: httpx.Request) -> "Head":
        """Return the head of a request. Raises LocalProtocolError for characters that would forge another header."""
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


class Heads(dict[tuple[str, str], Head]):
    """The heads of a server's requests, by method and path; each is made when it is first needed.

    `headers` go with every request; the base URL has no slash at its end. Raises UsageError for a header that cannot be
    sent.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._base_url = base_url
        host = httpx.URL(base_url).netloc.decode("ascii")
        self._headers = httpx.Headers({"host": host, **_checked(headers)})

    def renew(self, headers: Mapping[str, str]) -> None:
        """Send these headers with every request from now on. Raises UsageError for one that cannot be sent."""
        self._headers = httpx.Headers({"host": self._headers["host"], **_checked(headers)})
        self.clear()

    def __missing__(self, which: tuple[str, str]) -> Head:
        if len(self) >= REMEMBERED:
            self.clear()
        method, path = which
        bare = httpx.Request(method, self._base_url + path, headers=self._headers, stream=httpx.ByteStream(b""))
        head = self[which] = Head.of(bare)
        return head


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers, names in lower case. Raises UsageError, without the value, for what cannot be sent."""
    checked = {}
    for name, value in headers.items():
        value = value.strip(" \t")
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise UsageError(
                f"the header {name[:40]!r} holds a line break, control or non-ASCII character",
                "Set it again without.",
            )
        if name.lower() in BODY_FIELDS:
            raise UsageError(f"the header {name!r} is not yours to set", "It follows from the body.")
        checked[name.lower()] = value
    return checked


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join the different values of each name with commas, in the order they came."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        several = values.setdefault(name, [])
        if value not in several:  # a proxy may have repeated the header
            several.append(value)
    return {name: ", ".join(several) for name, several in values.items()}


_FIELD = re.compile(rb"([\w!#$%&'*+.^`|~-]+)([ \t]*):(.*)", re.DOTALL)
"""A header line: its name, blanks that should not be there, and its value (RFC 9110, 5.1 and 5.5; RFC 9112, 5.1)."""


def mended(answer: bytes) -> bytes | None:
    """Return an answer whose head has its length once, and header lines alone; None while the head is incomplete.

    A length that is repeated (by a server and its proxy, in two lines or in one) is one length, a transfer encoding
    of `identity` is none, a line that is no header is dropped, and blanks before a colon are none. Raises ValueError
    when the head has none of these errors.
    """
    head, ended, body = answer.partition(b"\r\n\r\n")
    if not ended:
        return None
    status, *fields = head.split(b"\r\n")
    lines = [status]
    lengths: set[bytes] = set()
    wrong = False
    for line in fields:
        field = _FIELD.fullmatch(line)
        if field is None:
            wrong = True
            continue
        name, value = field[1].lower(), field[3].strip()
        if name == b"content-length":
            wrong |= bool(lengths) or b"," in value
            lengths |= {length.strip() for length in value.split(b",")}
        elif name == b"transfer-encoding" and value.lower() == b"identity":
            wrong = True
        else:
            wrong |= bool(field[2])
            lines.append(field[1] + b": " + value)
    if not wrong or len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        raise ValueError("the head cannot be mended")
    lines += [b"content-length: " + length for length in lengths]
    return b"\r\n".join(lines) + ended + body
