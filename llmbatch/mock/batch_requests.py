"""Splits the requests of one large JSON body into lines, without holding the body in memory."""

import os
import re
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap

import anyio
import anyio.lowlevel

__all__ = ["split_requests"]

_SLICE = 1000
"""Requests between two chances for connections to be served."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]', re.DOTALL)
_ARRAY = re.compile(rb"\s*:\s*\[")
_KEY = b'"requests"'


async def split_requests(source: str, target: str) -> int:
    """Write each object of `{"requests": [...]}` as a line of `target`; return their number.

    The objects are not checked further than that their brackets match. Raises ValueError.
    """
    with open(source, "rb") as file:  # noqa: ASYNC230
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("requests: Field required")
        body = mmap(file.fileno(), 0, access=ACCESS_READ)
    count = 0
    with open(target, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:  # noqa: ASYNC230
        for start, end in _objects(body):
            out.write(body[start:end].replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")
            count += 1
            if count % _SLICE == 0:
                await anyio.lowlevel.checkpoint()
    return count


def _objects(body: mmap) -> Iterator[tuple[int, int]]:
    """Yield where each object of the array begins and ends."""
    start = _array_start(body)
    depth, number, last, begun = 0, 0, start, start
    for token in _TOKEN.finditer(body, start):
        at, sign = token.start(), body[token.start()]
        if sign == ord('"'):
            if not depth:
                raise ValueError(f"requests.{number}: Input should be an object")
        elif sign in b"{[":
            if not depth:
                _expect(body[last:at], b"," if number else b"", number)
                if sign == ord("["):
                    raise ValueError(f"requests.{number}: Input should be an object")
                begun = at
            depth += 1
        elif not depth:
            _expect(body[last:at], b"", number)
            return
        else:
            depth -= 1
            if not depth:
                last = token.end()
                number += 1
                yield begun, last
    raise ValueError("The request body is not valid JSON: it ends early")


def _expect(between: bytes, wanted: bytes, number: int) -> None:
    if between.strip() != wanted:
        raise ValueError(f"requests.{number}: Input should be an object")


def _array_start(body: mmap) -> int:
    """Return where the array of the key `requests` begins, after its bracket."""
    depth = 0
    for token in _TOKEN.finditer(body):
        sign = body[token.start()]
        if sign in b"{[":
            depth += 1
        elif sign in b"}]":
            depth -= 1
        elif depth == 1 and token[0] == _KEY and (found := _ARRAY.match(body, token.end())):
            return found.end()
    raise ValueError("requests: Field required")
