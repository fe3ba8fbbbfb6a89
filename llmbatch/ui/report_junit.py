"""The report as JUnit's XML: every record is a test case, so that a CI system shows which failed."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast
from xml.sax.saxutils import escape, quoteattr

from llmbatch.core.printable import printable
from llmbatch.results.stats import amount

__all__ = ["JUnitReport", "junit_report"]

IN_MEMORY = 16 * 1024 * 1024
"""Bytes of test cases; more of them wait in a temporary file, since their count stands before them."""


@contextmanager
def junit_report() -> "Iterator[JUnitReport]":
    """Make a report that lasts as long as the context."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as cases:
        yield JUnitReport(cast(BinaryIO, cases))


class JUnitReport:
    """Takes result lines one by one, and gives the whole afterwards. `cases` keeps the test cases meanwhile."""

    def __init__(self, cases: BinaryIO) -> None:
        self._cases = cases
        self._records = self._failed = 0
        self._seconds = 0.0

    def add(self, line: dict[str, Any]) -> None:
        """Write the test case of one result line."""
        self._records += 1
        seconds = amount(line.get("latency_s")) or 0.0
        self._seconds += seconds
        id, model = line.get("id"), line.get("model")
        name = str(id) if id is not None else f"record {line.get('index')}"
        group = model if isinstance(model, str) else "llmbatch"
        head = f'<testcase classname={_attribute(group)} name={_attribute(name)} time="{seconds:.3f}"'
        if line["status"] == "ok":
            self._cases.write(f"{head}/>\n".encode())
            return
        self._failed += 1
        error = line.get("error")
        error = error if isinstance(error, dict) else {}
        kind, message = str(error.get("kind") or "failed"), str(error.get("message") or "")
        failure = f"<failure type={_attribute(kind)} message={_attribute(message)}>{_text(message)}</failure>"
        self._cases.write(f"{head}>{failure}</testcase>\n".encode())

    def pieces(self) -> Iterable[bytes]:
        """Yield the document."""
        totals = f'tests="{self._records}" failures="{self._failed}" errors="0" time="{self._seconds:.3f}"'
        yield f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites {totals}>\n'.encode()
        yield f'<testsuite name="llmbatch" {totals} skipped="0">\n'.encode()
        self._cases.seek(0)
        while piece := self._cases.read(1024 * 1024):
            yield piece
        yield b"</testsuite>\n</testsuites>\n"


def _attribute(text: str) -> str:
    return quoteattr(_text_only(text, 300))


def _text(text: str) -> str:
    return escape(_text_only(text, 2000))


def _text_only(text: str, limit: int) -> str:
    """Leave out what XML cannot say: lone surrogates and two codes that are no characters; others are replaced."""
    return printable(text, limit).encode("utf-8", "replace").decode().translate({0xFFFE: None, 0xFFFF: None})
