"""Answers against what is expected, as text: accuracy by model or file, and confusion tables."""

from collections.abc import Iterator
from typing import Any

from llmbatch.core.printable import printable
from llmbatch.results.expectation import Expectation, Score
from llmbatch.ui.layout import table
from llmbatch.ui.symbols import Symbols

__all__ = ["SCORE_COLUMNS", "expectation_text", "for_page", "score_rows"]

SCORE_COLUMNS = ("", "records", "right", "wrong", "no answer", "accuracy", "95 % interval")
WIDE = 120
"""Cells of a line where there is no terminal."""
_MOST_TABLES, _MOST_LABELS = 8, 12
"""More groups or values than these make no table that can be read; the JSON has them all."""


def expectation_text(found: Expectation, width: int | None, symbols: Symbols) -> bytes:
    """Write a row for each group, and its confusion table where that is small."""
    return ("\n".join(_lines(found, width or WIDE, symbols)) + "\n").encode("utf-8", "replace")


def score_rows(found: Expectation) -> list[tuple[str, ...]]:
    """Return a row for each group, and one for all of them where there are several."""
    scores = dict(found.groups)
    if len(scores) > 1:
        scores["all"] = found.total()
    return [
        (
            printable(name, 80),
            f"{score.records:,}",
            f"{score.right:,}",
            f"{score.wrong:,}",
            f"{score.unanswered:,}",
            "" if score.accuracy is None else f"{score.accuracy:.1%}",
            "" if score.interval is None else "{:.1%} to {:.1%}".format(*score.interval),
        )
        for name, score in scores.items()
    ]


def for_page(found: Expectation | None) -> dict[str, Any]:
    """Return what a page shows of it; nothing where nothing is expected."""
    if found is None:
        return {"title": "", "scores": [], "confusions": []}
    tables = [(name, *_confusion(score)) for name, score in found.groups.items()][:_MOST_TABLES]
    return {
        "title": f"{found.answer} against {found.expected}",
        "scores": score_rows(found),
        "confusions": [each for each in tables if each[2]],
    }


def _confusion(score: Score) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the columns and rows of a confusion table: expected down, answered across; no rows if there are many."""
    labels = score.labels()
    if not labels or len(labels) > _MOST_LABELS:
        return [], []
    expected = [label for label in labels if any(score.confusion[label, other] for other in labels)]
    rows = [
        (printable(label, 40), *(f"{count:,}" if (count := score.confusion[label, other]) else "" for other in labels))
        for label in expected
    ]
    return ["expected", *(printable(label, 40) for label in labels)], rows


def _lines(found: Expectation, width: int, symbols: Symbols) -> Iterator[str]:
    yield ""
    yield printable(f"{found.answer} against {found.expected}", 200)
    yield from table(
        SCORE_COLUMNS, score_rows(found), width, drop=("no answer", "wrong", "95 % interval"), ellipsis=symbols.ellipsis
    )
    if len(found.groups) > _MOST_TABLES:
        return
    for name, score in found.groups.items():
        columns, rows = _confusion(score)
        if rows:
            yield ""
            yield printable(f"what {name} answers, by what is expected", 200)
            yield from table(tuple(columns), rows, width, drop=(), ellipsis=symbols.ellipsis)
