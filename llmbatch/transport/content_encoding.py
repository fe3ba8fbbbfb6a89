"""Decodes content encodings up to a cap: one mebibyte on the wire can hold a gibibyte."""

import zlib

from llmbatch.transport.limits import Limits

__all__ = ["GZIP", "EncodingError", "Unfinished", "decode"]

_SAFE = 1024 * 1024
GZIP = b"\x1f\x8b"
"""How gzip data begins, and nothing else that servers send."""
_STEP = 64 * 1024
_MEMBERS = 10_000
"""The most members of a gzip body: each costs time."""


class EncodingError(ValueError):
    """The body is not what its content encoding says, or grows beyond the cap."""


class Unfinished(EncodingError):
    """The data ends too early; `decoded` is what it holds. Servers that stream often do not write the end of gzip."""

    def __init__(self, message: str, decoded: bytes) -> None:
        super().__init__(message)
        self.decoded = decoded


def decode(body: bytes, encodings: str, limits: Limits) -> bytes:
    """Undo gzip and deflate, the last of a list first; JSON and events that are not compressed stay as they are.

    Raises EncodingError for anything else, for cut or broken data and for bombs.
    """
    for encoding in reversed(encodings.lower().split(",")):
        body = _decode(body, encoding.strip(), limits)
    return body


def _decode(body: bytes, encoding: str, limits: Limits) -> bytes:
    if not body or encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        if _is_text(body):
            return body
        raise EncodingError(f"content encoding {encoding[:40]!r} was not asked for and is not understood")
    cap = min(limits.body, max(_SAFE, len(body) * limits.ratio))
    # 47: zlib or gzip, as the first bytes say; some servers send deflate without the zlib wrapper.
    for window in (47, -15) if encoding == "deflate" else (47,):
        try:
            decoded, complete = _inflate(body, window, cap)
        except zlib.error as error:
            failure = EncodingError(f"broken {encoding} data: {error}")
            continue
        if len(decoded) > cap:
            raise EncodingError(f"{encoding} data grows beyond {cap} bytes")
        if not complete:
            raise Unfinished(f"{encoding} data ends too early", decoded)
        return decoded
    if _is_text(body):
        return body
    raise failure


def _is_text(body: bytes) -> bool:
    """Tell whether a body has no content encoding, though its header names one: a proxy may have removed it."""
    return body[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[", b"data:", b"event:", b":"))


def _inflate(body: bytes, window: int, cap: int) -> tuple[bytes, bool]:
    """Decompress all members, to one byte beyond the cap; say whether the data is complete."""
    view = memoryview(body)
    decoded: list[bytes] = []
    size = at = 0
    for _ in range(_MEMBERS):
        inflate = zlib.decompressobj(window)
        # In small steps: zlib copies all that follows a member, which is quadratic in the number of small members.
        while not inflate.eof and at < len(body) and size <= cap:
            step = view[at : at + _STEP]
            decoded.append(inflate.decompress(step, cap + 1 - size))
            size += len(decoded[-1])
            at += len(step) - len(inflate.unused_data) - len(inflate.unconsumed_tail)
        if not inflate.eof or size > cap or bytes(view[at : at + 2]) != GZIP:
            return b"".join(decoded), inflate.eof
    return b"".join(decoded), False
