"""Several results files side by side, as text."""

from collections.abc import Iterator

from llmbatch.app.compare import Comparison
from llmbatch.core.plural import counted
from llmbatch.core.printable import printable
from llmbatch.ui.layout import crop, flow, table
from llmbatch.ui.symbols import Symbols
from llmbatch.ui.units import duration, money, share

__all__ = ["comparison_text"]

WIDE = 120
"""Cells of a line where there is no terminal."""
_COLUMNS = ("file", "records", "ok", "failed", "cost", "p50", "p95")


def comparison_text(found: Comparison, width: int | None, symbols: Symbols) -> bytes:
    """Write a row for each file, how often they agree, and the records with different answers."""
    return ("\n".join(_lines(found, width or WIDE, symbols)) + "\n").encode("utf-8", "replace")


def _lines(found: Comparison, width: int, symbols: Symbols) -> Iterator[str]:
    names = [printable(name, 80) for name in found.names]
    rows: list[tuple[str, ...]] = []
    for name, stats in zip(names, found.stats, strict=True):
        latency = stats.latency_s()
        numbers = (f"{stats.records:,}", f"{stats.ok:,}", f"{stats.failed:,}" if stats.failed else "")
        cost = "" if stats.cost_usd is None else money(stats.cost_usd)
        rows.append((name, *numbers, cost, *(duration(latency[rank]) if latency else "" for rank in ("p50", "p95"))))
    yield from table(_COLUMNS, rows, width, drop=("p95", "p50", "failed", "records"), ellipsis=symbols.ellipsis)
    yield ""
    same = share(found.agreeing / found.common) if found.common else "none"
    common = counted(found.common, "record is", "records are")
    agreeing = f"{found.agreeing:,} ({same}) with the same answer"
    yield from flow([f"{common} answered in all files", agreeing], width, symbols.dot, symbols.ellipsis)
    if len(names) > 2:
        yield ""
        columns = ("the same answer", *(str(number) for number in range(1, len(names) + 1)))
        shares = [["" if part is None else share(part) for part in row] for row in found.agreement]
        rows = [(f"{number} {name}", *row) for number, (name, row) in enumerate(zip(names, shares, strict=True), 1)]
        yield from table(columns, rows, width, drop=(), ellipsis=symbols.ellipsis)
    for one in found.differing:
        yield ""
        yield printable(one.name if one.id is None else f"id {one.name}", 80)
        for name, text in zip(names, one.texts, strict=True):
            said = printable(text, 500) if text is not None else "no answer"
            yield crop(f"  {crop(name, 24, symbols.ellipsis)}: {said}", width, symbols.ellipsis)
