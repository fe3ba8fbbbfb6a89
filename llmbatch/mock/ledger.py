"""The ledger: a file with one JSON line for each request, so that tests can prove what was sent."""

import os
from collections.abc import Iterable
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

from llmbatch.codec import json

__all__ = ["Ledger", "shown_headers"]

_SECRET = frozenset({b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})


class Ledger:
    """An append-only file. Each line is one write, so that several providers may share it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        os.close(self._descriptor)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line."""
        self.append(json.dumps(line) + b"\n")

    def append(self, line: bytes) -> None:
        """Append one line that is written out already."""
        os.write(self._descriptor, line)

    def custom_ids(self, batch: str) -> set[str]:
        """Return the rows of a batch that have a line."""
        name, found = batch.encode(), set()
        with open(self._path, "rb") as file:
            for line in file:
                if name in line and line.endswith(b"\n") and (row := json.loads(line).get("custom_id")) is not None:
                    found.add(row)
        return found


def shown_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers with credentials replaced by a digest: equal keys are recognisable, none is readable."""
    return {
        name.decode(): f"sha256:{sha256(value).hexdigest()[:12]}" if name in _SECRET else value.decode("latin-1")
        for name, value in headers
    }
