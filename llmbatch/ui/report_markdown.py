"""The report as Markdown, for the step summary of a CI system."""

from collections.abc import Iterator, Sequence

from llmbatch.core.printable import printable
from llmbatch.results.expectation import Expectation
from llmbatch.results.highlights import Highlights
from llmbatch.results.stats import StatsByModel
from llmbatch.ui.expectation import SCORE_COLUMNS, score_rows
from llmbatch.ui.report import MODEL_COLUMNS, account_rows, model_rows

__all__ = ["report_markdown"]

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>()#+-.!|~&:@"})


def report_markdown(book: StatsByModel, highlights: Highlights, expected: Expectation | None = None) -> bytes:
    """Write the account, the models and an example of each kind of failure."""
    total = book.total()
    parts = [f"### llmbatch: {total.ok:,} of {total.records:,} answered, {total.failed:,} failed"]
    parts.append(_table(("", ""), [(fact.name, fact.value) for fact in account_rows(book.files, total)]))
    if models := model_rows(book):
        parts.append(_table(MODEL_COLUMNS, models))
    if expected is not None:
        parts.append(f"{_cell(expected.answer)} against {_cell(expected.expected)}")
        parts.append(_table(SCORE_COLUMNS, score_rows(expected)))
    if total.failures:
        parts.append(
            _table(("failure", "records", "id", "message"), list(_failures(total.failures.most_common(), highlights)))
        )
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
    return printable(text.strip(), 200).translate(_SPECIAL)
