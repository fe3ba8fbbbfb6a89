"""Write measured tables into the pages of help: `python -m tests.bench --readme build/bench.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.table import as_markdown

__all__ = ["PACING", "between", "paste"]

PAGES = Path(__file__).parent.parent.parent / "llmbatch" / "help"
BENCHMARKS, PACING = PAGES / "benchmarks.md", PAGES / "pacing.md"
BEGIN, END = "<!-- make bench -->\n", "<!-- end of make bench -->\n"


def paste(reports: Sequence[dict[str, Any]]) -> None:
    """Put the table of these reports between the marks."""
    between(BENCHMARKS, BEGIN, END, as_markdown(reports))


def between(page: Path, begin: str, end: str, table: str) -> None:
    """Put a table between two marks of a page."""
    text = page.read_text()
    since, until = text.index(begin) + len(begin), text.index(end)
    page.write_text(text[:since] + table + text[until:])
