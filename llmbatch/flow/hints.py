"""How long a server asks to be left alone, in every form servers say it. Pure.

Whatever it says is an untrusted number: what is not finite or not positive counts as not said.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC

__all__ = ["duration", "retry_after", "wait_in_text"]

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)"
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)
_IN_TEXT = re.compile(
    rf"(?:try again|retry|retry after|resets?) (?:in|after) ((?:{_PART})+|\d+(?:\.\d+)?(?= ?(?:seconds?|secs?)\b))",
    re.ASCII | re.IGNORECASE,
)


def duration(text: str) -> float | None:
    """Read a Go-style duration (`6m0s`, `120ms`, `45.8s`) or a bare number of seconds; None when it is neither."""
    text = text.strip()
    if _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text, re.ASCII))
        return _sane(seconds)
    return _number(text)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after-ms`, then `retry-after` as seconds or as an HTTP date; seconds, or None.

    A date is compared with the answer's own `date`, since the local clock may be wrong; without one there is no way
    to tell and the date is ignored. (RFC 9110, 10.2.3.)
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _sane(milliseconds / 1000)
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    seconds = duration(value)
    if seconds is not None:
        return seconds
    until, now = _date(value), _date(headers.get("date", ""))
    return _sane(until - now) if until is not None and now is not None else None


def wait_in_text(message: str) -> float | None:
    """Find "try again in 5.289s" or "retry after 26 seconds" in an error message: the last resort."""
    found = _IN_TEXT.search(message)
    return duration(found[1].lower()) if found else None


def _number(text: str) -> float | None:
    try:
        return _sane(float(text))
    except ValueError:
        return None


def _sane(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _date(text: str) -> float | None:
    from email.utils import parsedate_to_datetime  # costs 7 ms to import, and few servers send dates

    try:
        date = parsedate_to_datetime(text)
        # A date without a zone is GMT, as all HTTP dates are; Python would take it for local time.
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
