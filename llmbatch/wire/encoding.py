"""Content encodings undone under a cap: one mebibyte on the wire can hold a gibibyte."""

import zlib

from llmbatch.wire.limits import Limits

__all__ = ["EncodingError", "decode"]

_SAFE = 1024 * 1024
_GZIP = b"\x1f\x8b"


class EncodingError(ValueError):
    """The body is not what its content encoding says, or grows beyond the cap."""


def decode(body: bytes, encoding: str, limits: Limits) -> bytes:
    """Undo gzip or deflate. Raises EncodingError for anything else, for cut or broken data and for bombs."""
    encoding = encoding.strip().lower()
    if not body or encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise EncodingError(f"content encoding {encoding[:40]!r} was not asked for and is not understood")
    cap = min(limits.body, max(_SAFE, len(body) * limits.ratio))
    # 47: zlib or gzip, told by the first bytes; some servers send deflate without the zlib wrapper.
    for window in (47, -15) if encoding == "deflate" else (47,):
        try:
            decoded, whole = _inflate(body, window, cap)
        except zlib.error as error:
            failure = EncodingError(f"broken {encoding} data: {error}")
            continue
        if len(decoded) > cap:
            raise EncodingError(f"{encoding} data grows beyond {cap} bytes")
        if not whole:
            raise EncodingError(f"{encoding} data ends too early")
        return decoded
    raise failure


def _inflate(body: bytes, window: int, cap: int) -> tuple[bytes, bool]:
    """Inflate, gzip in all its members, to one byte beyond the cap; say whether the data came to its end."""
    decoded = b""
    while True:
        inflate = zlib.decompressobj(window)
        decoded += inflate.decompress(body, cap + 1 - len(decoded))
        body = inflate.unused_data
        if not inflate.eof or not body.startswith(_GZIP) or len(decoded) > cap:
            return decoded, inflate.eof
