"""Fits text to a width: items on as few lines as possible, tables that lose columns and never break a number."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

__all__ = ["crop", "crop_middle", "flow", "table"]


READABLE = 24
"""Cells of a name that still tells it from others."""


def crop(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut the end off what is wider than `width` cells."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - cell_len(ellipsis))).rstrip() + ellipsis[: max(0, width)]


def crop_middle(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut the middle out of what is wider than `width` cells: names of models differ at both ends."""
    if cell_len(text) <= width:
        return text
    left = max(0, width - cell_len(ellipsis))
    head, tail = set_cell_size(text, (left + 1) // 2), ""
    for character in reversed(text):
        if cell_len(character + tail) > left // 2:
            break
        tail = character + tail
    return f"{head}{ellipsis}{tail}"


def flow(items: Iterable[str], width: int, between: str = " · ", ellipsis: str = "…") -> list[str]:
    """Put items on lines of at most `width` cells; one that is wider by itself is broken between its words."""
    lines: list[str] = []
    for item in items:
        if lines and cell_len(lines[-1]) + cell_len(between) + cell_len(item) <= width:
            lines[-1] += between + item
        elif cell_len(item) <= width or " " not in item:
            lines.append(crop(item, width, ellipsis))
        else:
            lines += flow(item.split(" "), width, " ", ellipsis)
    return lines


def table(
    names: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, drop: Sequence[str], ellipsis: str = "…"
) -> list[str]:
    """Align rows under their names within `width` cells, the first column left and the others right.

    Where that is too wide, the first column is cut in its middle, but not below `READABLE`; then the columns named by
    `drop` go, in that order. A column without a value in any row is left out.
    """
    shown = [place for place in range(len(names)) if place == 0 or any(row[place] for row in rows)]

    def widths() -> list[int]:
        return [max(cell_len(names[place]), *(cell_len(row[place]) for row in rows)) for place in shown]

    gap = 2
    for name in drop:
        sizes = widths()
        if min(sizes[0], READABLE) + sum(sizes[1:]) + gap * (len(shown) - 1) <= width:
            break
        shown = [place for place in shown if names[place] != name or place == 0]
    sizes = widths()
    spare = width - sum(sizes[1:]) - gap * (len(shown) - 1)
    sizes[0] = max(min(sizes[0], 8), min(sizes[0], spare))
    return [_aligned([row[place] for place in shown], sizes, gap, ellipsis) for row in (names, *rows)]


def _aligned(cells: Sequence[str], sizes: Sequence[int], gap: int, ellipsis: str) -> str:
    first = crop_middle(cells[0], sizes[0], ellipsis)
    rest = (" " * (gap + size - cell_len(cell)) + cell for cell, size in zip(cells[1:], sizes[1:], strict=True))
    return (first + " " * (sizes[0] - cell_len(first)) + "".join(rest)).rstrip()
