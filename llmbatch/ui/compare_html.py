"""Several results files side by side, as one self-contained page of HTML."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llmbatch.app.compare import SHOWN, Comparison
from llmbatch.results.expectation import Expectation
from llmbatch.results.stats import Stats
from llmbatch.ui.expectation import for_page
from llmbatch.ui.html_page import html_page
from llmbatch.ui.units import duration, money, share

__all__ = ["comparison_page"]

_COLUMNS = ("file", "records", "ok", "failed", "tokens in", "out", "cost", "an answer", "p50", "p95")
_FIGURES = (
    "records",
    "ok",
    "failed",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "",
    "latency_s.p50",
    "latency_s.p95",
)
"""What `--format json` calls the figures of all columns but the first."""


class _Row(NamedTuple):
    """One file: its name, the models in it, and the cells beside them."""

    name: str
    models: Sequence[str]
    cells: tuple[str, ...]


class _Side(NamedTuple):
    """What one file answers: equal answers have the same letter."""

    letter: str
    text: str | None


def comparison_page(found: Comparison, expected: Expectation | None = None) -> bytes:
    """Write the page: a row for each file, how often they agree, and the records with different answers."""
    return html_page(
        "compare",
        verdict=f"{found.agreeing:,} of {found.common:,} records have the same answer in all files"
        if found.common
        else "No record is answered in all files",
        names=found.names,
        found=found,
        columns=_COLUMNS,
        figures=_FIGURES,
        rows=[_Row(*file) for file in zip(found.names, found.models, map(_cells, found.stats), strict=True)],
        agreement=[[(part, "" if part is None else share(part)) for part in row] for row in found.agreement],
        differing=[{"id": one.name, "sides": [*_sides(one.texts)]} for one in found.differing],
        more=len(found.differing) >= SHOWN,
        expected=for_page(expected),
    )


def _cells(stats: Stats) -> tuple[str, ...]:
    latency = stats.latency_s()
    priced = stats.cost_usd is not None
    return (
        f"{stats.records:,}",
        f"{stats.ok:,}",
        f"{stats.failed:,}",
        f"{stats.tokens['input_tokens']:,}",
        f"{stats.tokens['output_tokens']:,}",
        money(stats.cost_usd) if stats.cost_usd is not None else "",
        money((stats.cost_usd or 0.0) / stats.ok) if priced and stats.ok else "",
        *(duration(latency[rank]) if latency else "" for rank in ("p50", "p95")),
    )


def _sides(texts: Sequence[str | None]) -> Iterator[_Side]:
    letters: dict[str, str] = {}
    for text in texts:
        if text is None:
            yield _Side("–", None)
        else:
            yield _Side(letters.setdefault(text.strip(), chr(ord("A") + len(letters) % 26)), text)
