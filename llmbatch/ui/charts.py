"""Draws charts as SVG from numbers alone: no text from others gets into the markup.

The drawings stretch to the room that they have; the words on their axes are HTML, so that these do not.
"""

from collections.abc import Sequence

from llmbatch.results.highlights import Bin

__all__ = ["area", "bars", "stacked"]

HEIGHT = 100


def stacked(bins: Sequence[Bin], most: int) -> str:
    """Draw answers and failures over time as stacked bars; `most` reaches the top."""
    shapes = []
    for place, one in enumerate(bins):
        good, bad = one.ok / most * HEIGHT, one.failed / most * HEIGHT
        if good:
            shapes.append(_box("ok", place, HEIGHT - good, good))
        if bad:
            shapes.append(_box("bad", place, HEIGHT - good - bad, bad))
    return _svg(len(bins), shapes, "answers and failures over time")


def area(values: Sequence[float], most: float) -> str:
    """Draw values over time as an area below a line."""
    middles = [f"{place + 0.5:.1f},{HEIGHT - value / most * (HEIGHT - 2):.1f}" for place, value in enumerate(values)]
    line = " ".join([f"0,{HEIGHT}", *middles, f"{len(values)},{HEIGHT}"])
    return _svg(len(values), [f'<polygon class="flight" points="{line}"/>'], "requests in flight over time", "low")


def bars(counts: Sequence[int], most: int, ranks: Sequence[float]) -> str:
    """Draw a histogram, and a vertical line at each of `ranks`, which are shares of the width."""
    shapes = [
        _box("bar", place, HEIGHT - count / most * HEIGHT, count / most * HEIGHT)
        for place, count in enumerate(counts)
        if count
    ]
    for rank in ranks:
        x = min(1.0, max(0.0, rank)) * len(counts)
        shapes.append(f'<line class="rank" x1="{x:.2f}" x2="{x:.2f}" y1="0" y2="{HEIGHT}"/>')
    return _svg(len(counts), shapes, "histogram of latencies", "tall")


def _box(name: str, place: int, y: float, height: float) -> str:
    return f'<rect class="{name}" x="{place + 0.07:.2f}" y="{y:.2f}" width="0.86" height="{height:.2f}"/>'


def _svg(width: int, shapes: Sequence[str], label: str, name: str = "") -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(shapes)}</svg>'
    )
