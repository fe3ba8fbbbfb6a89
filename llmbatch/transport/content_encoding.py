"""Content encodings undone under a cap: one mebibyte on the wire can hold a gibibyte."""

import zlib

from llmbatch.transport.limits import Limits

__all__ = ["EncodingError", "decode"]

_SAFE = 1024 * 1024
_GZIP = b"\x1f\x8b"
_STEP = 64 * 1024
_MEMBERS = 10_000
"""More of them are an attack on our time."""


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
    view = memoryview(body)
    decoded: list[bytes] = []
    size = at = 0
    for _ in range(_MEMBERS):
        inflate = zlib.decompressobj(window)
        # In small steps: what follows a member is copied, so a thousand tiny ones would cost a gigabyte.
        while not inflate.eof and at < len(body) and size <= cap:
            step = view[at : at + _STEP]
            decoded.append(inflate.decompress(step, cap + 1 - size))
            size += len(decoded[-1])
            at += len(step) - len(inflate.unused_data) - len(inflate.unconsumed_tail)
        if not inflate.eof or size > cap or bytes(view[at : at + 2]) != _GZIP:
            return b"".join(decoded), inflate.eof
    return b"".join(decoded), False
