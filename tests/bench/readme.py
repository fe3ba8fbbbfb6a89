"""Write measured tables into the README: `python -m tests.bench --readme build/bench.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.table import as_markdown

__all__ = ["paste"]

README = Path(__file__).parent.parent.parent / "README.md"
BEGIN, END = "<!-- make bench -->\n", "<!-- end of make bench -->\n"


def paste(reports: Sequence[dict[str, Any]]) -> None:
    """Put the table of these reports between the marks."""
    text = README.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    README.write_text(text[:begin] + as_markdown(reports) + text[end:])
