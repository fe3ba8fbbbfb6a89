"""The report as Markdown, for the step summary of a CI system."""

import re
from collections.abc import Iterator, Sequence

from llmbatch.core.printable import printable
from llmbatch.results.expectation import Expectation
from llmbatch.results.highlights import Highlights
from llmbatch.results.stats import StatsByModel
from llmbatch.ui.expectation import SCORE_COLUMNS, score_rows
from llmbatch.ui.report import MODEL_COLUMNS, account_rows, model_rows

__all__ = ["report_markdown"]

_SPECIAL = re.compile(r"[\\`*_\[\]<>|~&@$]|(?<=www)\.|:(?=//)|:(?=(?!\d\d[:.])[\w+-]+:)", re.IGNORECASE)
"""What would be markup in a cell: emphasis, code, HTML, entities, links, addresses, formulas, emoji by name."""


def report_markdown(book: StatsByModel, highlights: Highlights, expected: Expectation | None = None) -> bytes:
    """Write an example of each kind of failure, the account and the models: what matters first in front."""
    total = book.total()
    parts = [f"### llmbatch: {total.ok:,} of {total.records:,} answered, {total.failed:,} failed"]
    if total.failures:
        parts.append(
            _table(("failure", "records", "id", "message"), list(_failures(total.failures.most_common(), highlights)))
        )
    first, *facts = account_rows(book.files, total)
    rows = [(fact.name, fact.value) for fact in facts if not fact.figures[0].startswith("failures.")]
    parts.append(_table((first.name, first.value), rows))
    if models := model_rows(book):
        parts.append(_table(MODEL_COLUMNS, models))
    if expected is not None:
        parts.append(f"{_cell(expected.answer)} against {_cell(expected.expected)}")
        parts.append(_table(SCORE_COLUMNS, score_rows(expected)))
    return ("\n\n".join(parts) + "\n").encode("utf-8", "replace")


def _failures(kinds: Sequence[tuple[str, int]], highlights: Highlights) -> Iterator[tuple[str, ...]]:
    for kind, count in kinds:
        for one in highlights.failures.get(kind, [])[:1]:
            yield kind, f"{count:,}", str(one.id) if one.id is not None else f"record {one.index}", one.text


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---", *["---:"] * (len(names) - 1)] if len(names) != 4 else ["---", "---:", "---", "---"]]
    text = ["| " + " | ".join(lines[0]) + " |", "| " + " | ".join(lines[1]) + " |"]
    text += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(text)


def _cell(text: str) -> str:
    """Write a text that Markdown and HTML leave as it is."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text.strip(), 200))
