"""Finds the outermost objects in JSON text that comes in pieces, however they are separated. Pure."""

import re
from collections.abc import Iterable, Iterator

__all__ = ["outermost_objects"]

_OUTSIDE = re.compile(rb'["{}]')
_IN_TEXT = re.compile(rb'["\\]')


def outermost_objects(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each object that stands in no other: those of an array, or those that follow each other.

    Line breaks do not matter. An object that is cut off comes last, as far as it is there.
    """
    buffer, start, at, depth, in_text = bytearray(), 0, 0, 0, False
    for piece in pieces:
        del buffer[:start]
        at -= start
        start = 0
        buffer += piece
        while (found := (_IN_TEXT if in_text else _OUTSIDE).search(buffer, at)) is not None:
            at = found.end()
            match found[0]:
                case b"\\":
                    at += 1
                case b'"':
                    in_text = depth > 0 and not in_text
                case b"{":
                    start = start if depth else at - 1
                    depth += 1
                case b"}" if depth:
                    depth -= 1
                    if not depth:
                        yield bytes(buffer[start:at])
                        start = at
        at = max(at, len(buffer))
        start = start if depth else len(buffer)
    if depth:
        yield bytes(buffer[start:])
