"""Write measured tables into the README: `python -m tests.bench --readme build/bench.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.table import as_markdown

__all__ = ["between", "paste"]

README = Path(__file__).parent.parent.parent / "README.md"
BEGIN, END = "<!-- make bench -->\n", "<!-- end of make bench -->\n"


def paste(reports: Sequence[dict[str, Any]]) -> None:
    """Put the table of these reports between the marks."""
    between(BEGIN, END, as_markdown(reports))


def between(begin: str, end: str, table: str) -> None:
    """Put a table between two marks."""
    text = README.read_text()
    since, until = text.index(begin) + len(begin), text.index(end)
    README.write_text(text[:since] + table + text[until:])
