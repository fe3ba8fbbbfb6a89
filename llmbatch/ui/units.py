"""Numbers as people read them: durations, money, shares."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime

__all__ = ["clock", "done", "duration", "latency_ranks", "money", "period", "rate", "share"]


def duration(seconds: float) -> str:
    """Write a duration with three digits at most, in the unit that suits it: `8.3 ms`, `1.24 s`, `2 min 5 s`, `3 h`."""
    if seconds < 1:
        return f"{_digits(seconds * 1000)} ms" if seconds < 0.9995 else "1 s"
    if seconds < 59.95:
        return f"{_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def latency_ranks(latency_s: Mapping[str, float], answers: int) -> list[str]:
    """Write percentiles with their names; a single answer has none, and its latency is all there is to say."""
    if answers == 1:
        return [duration(seconds) for seconds in latency_s.values()][:1]
    return [f"{rank} {duration(seconds)}" for rank, seconds in latency_s.items()]


def money(dollars: float) -> str:
    """Write US dollars: cents from a dollar on, four decimals below it, two digits that count where it is less."""
    if dollars >= 1:
        return f"${dollars:,.2f}"
    if dollars >= 0.001 or dollars <= 0:
        return f"${max(0.0, dollars):.4f}"
    decimals = min(12, 1 - math.floor(math.log10(dollars)))
    return f"${dollars:.{decimals}f}"


def rate(value: float) -> str:
    """Write a number of things in a time with three digits that count, and all before the decimal point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def share(part: float) -> str:
    """Write a share of 1 in percent; what is neither nothing nor all is written as neither."""
    percent = round(part * 100)
    if part > 0 and percent == 0:
        return "under 1%"
    if part < 1 and percent == 100:
        return "over 99%"
    return f"{percent}%"


def done(part: float) -> str:
    """Write how much is done in percent, rounded down: all is done only at the end."""
    return f"{int(part * 100 + 1e-9)}%"


def clock(seconds: float) -> str:
    """Write a duration as `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def period(first: float, last: float) -> str:
    """Write two moments, in Unix seconds, as a time in UTC; what they share stands once."""
    began, ended = (datetime.fromtimestamp(seconds, UTC) for seconds in (first, last))
    if last - first < 1:
        return f"{began:%Y-%m-%d %H:%M:%S} UTC"
    until = f"{ended:%H:%M:%S}" if began.date() == ended.date() else f"{ended:%Y-%m-%d %H:%M:%S}"
    return f"{began:%Y-%m-%d %H:%M:%S} to {until} UTC"


def _digits(value: float) -> str:
    """Write a number below 1,000 with three digits at most, and without zeros at its end."""
    if value >= 99.95:
        return f"{value:.0f}"
    text = f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".")
