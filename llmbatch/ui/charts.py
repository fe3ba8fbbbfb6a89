"""Draws charts as SVG from numbers alone: no text from others gets into the markup."""

from collections.abc import Sequence

from llmbatch.results.highlights import Bin
from llmbatch.ui.units import duration

__all__ = ["bars", "timeline"]

WIDTH, HEIGHT, FOOT = 720, 180, 26
"""Units of the drawing, which scales with the page; `FOOT` is the room for the words below it."""


def timeline(bins: Sequence[Bin], seconds: float) -> str:
    """Draw answers and failures over time as stacked bars, and the requests in flight as a line."""
    most = max((one.ok + one.failed for one in bins), default=0) or 1
    busiest = max((one.in_flight for one in bins), default=0.0) or 1.0
    step = WIDTH / len(bins)
    shapes = []
    for place, one in enumerate(bins):
        good, bad = one.ok / most * HEIGHT, one.failed / most * HEIGHT
        x, wide = place * step, max(1.0, step - 1)
        if good:
            shapes.append(_box("ok", x, HEIGHT - good, wide, good))
        if bad:
            shapes.append(_box("bad", x, HEIGHT - good - bad, wide, bad))
    line = " ".join(
        f"{(place + 0.5) * step:.1f},{HEIGHT - one.in_flight / busiest * (HEIGHT - 4):.1f}"
        for place, one in enumerate(bins)
    )
    shapes.append(f'<polyline class="flight" points="{line}"/>')
    words = [(0, "start", "0"), (WIDTH, "end", duration(seconds))]
    return _svg(shapes, words, f"answers and failures over {duration(seconds)}, at most {busiest:.0f} in flight")


def bars(counts: Sequence[int], low: float, high: float) -> str:
    """Draw a histogram of latencies on a logarithmic scale from `low` to `high` seconds."""
    most = max(counts, default=0) or 1
    step = WIDTH / max(1, len(counts))
    shapes = [
        _box("ok", place * step, HEIGHT - count / most * HEIGHT, max(1.0, step - 2), count / most * HEIGHT)
        for place, count in enumerate(counts)
        if count
    ]
    middle = (low * high) ** 0.5
    words = [(0, "start", duration(low)), (WIDTH / 2, "middle", duration(middle)), (WIDTH, "end", duration(high))]
    return _svg(shapes, words, f"latencies from {duration(low)} to {duration(high)}")


def _box(name: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _svg(shapes: Sequence[str], words: Sequence[tuple[float, str, str]], label: str) -> str:
    texts = (f'<text x="{x:.0f}" y="{HEIGHT + 21}" text-anchor="{anchor}">{text}</text>' for x, anchor, text in words)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" role="img" aria-label="{label}">'
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>{"".join(shapes)}{"".join(texts)}</svg>'
    )
