"""Reads rate limits and waits from response headers, in all forms that servers use. Pure.

The numbers are untrusted: a wait that is not finite and positive, or a limit that is not between zero and a billion,
is ignored.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from llmbatch.core.clock import duration, positive_number, valid_seconds
from llmbatch.core.exchange import RateLimits

__all__ = ["quoted_headers", "rate_limits", "retry_after", "wait_in_text"]

_UNITS = {
    "d": ("days", "day", "d"),
    "h": ("hours", "hour", "hrs", "hr", "h"),
    "ms": ("milliseconds", "millisecond", "msecs", "msec", "ms"),
    "m": ("minutes", "minute", "mins", "min", "m"),
    "s": ("seconds", "second", "secs", "sec", "s"),
    "us": ("us", "µs"),
    "ns": ("ns",),
}
"""How servers write the units of a duration."""
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}
_PART = rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNIT_OF)})(?![a-z])"
_SPAN = rf"{_PART}(?:,? ?(?:and )?{_PART})*"
_PARTS_OF_SPAN = re.compile(_PART, re.IGNORECASE | re.ASCII)
_WHOLE_SPAN = re.compile(_SPAN, re.IGNORECASE | re.ASCII)
_IN_TEXT = re.compile(
    r"(?:(?:try again|retry|resets?|available(?: again)?|allowed)(?: again)? (?:in|after)|retry[ _-]after:?"
    rf"|\bwait(?: for| at least)?)(?: about| approximately)? (?P<span>{_SPAN})",
    re.IGNORECASE | re.ASCII,
)

DAY = 86400.0
SINCE_1970 = 1e9
"""A reset of so many seconds or more is a moment; of a thousand times as many, one in milliseconds."""

_Names = tuple[str, ...]
"""The headers of one limit: the limit itself, what remains of it, and its reset."""


def _names(what: str, *periods: str) -> tuple[_Names, ...]:
    """Return the names that servers use, those that set the pace first."""
    openai = [tuple(f"x-ratelimit-{part}-{name}" for part in _PARTS) for name in (what, *periods)]
    return (*openai, tuple(f"anthropic-ratelimit-{what}-{part}" for part in _PARTS))


_PARTS = "limit", "remaining", "reset"
_REQUESTS = _names("requests", "req-minute", "requests-minute", "minute", "requests-day")
_TOKENS = _names("tokens", "tokens-minute", "tokens-per-minute", "tokens-day", "tokens-per-day")
_BARE = tuple(f"x-ratelimit-{part}" for part in _PARTS), tuple(f"ratelimit-{part}" for part in _PARTS)
"""OpenRouter's, GitHub's and Together's names, and those of the early drafts of the IETF, which many gateways use. They
say nothing of the period, so that only those with a reset are believed: Together's is a second."""
_LIMITS = frozenset(names[0] for names in (*_REQUESTS, *_TOKENS, *_BARE)) | {"ratelimit"}
_PARAMETERS = re.compile(r"; *([qrt])=(\d+)", re.ASCII)

_HTTP_DATE = re.compile(r"\w{3,9}, [^,]+")
"""One of several dates in a header."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after-ms`, also Azure's, then `retry-after` as seconds or as an HTTP date; seconds, or None.

    A date is compared with the answer's own `date`, since the local clock may be wrong; without that it is ignored.
    (RFC 9110, 10.2.3.)
    """
    text = headers.get("retry-after-ms") or headers.get("x-ms-retry-after-ms") or ""
    milliseconds = positive_number(text.partition(",")[0])
    if milliseconds is not None:
        return valid_seconds(milliseconds / 1000)
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    # A server and its proxy may both send one, which come joined by commas; the longer wait satisfies both.
    seconds = [wait for part in value.split(",") if (wait := _span(part)) is not None]
    if seconds and max(seconds) < SINCE_1970:
        return max(seconds)
    dates, now = _HTTP_DATE.findall(value) or [value], _date(headers.get("date", ""))
    moments = map(_since_1970, seconds) if seconds else (_date(text) or _moment(text) for text in dates)
    until = max((moment for moment in moments if moment is not None), default=None)
    return valid_seconds(until - now) if until is not None and now is not None else None


def _span(text: str) -> float | None:
    """Read a duration with units in letters or words, or a bare number of seconds."""
    text = text.partition(";")[0].strip(" \t\"'")
    if not _WHOLE_SPAN.fullmatch(text):
        return duration(text)
    return duration("".join(number + _UNIT_OF[unit.lower()] for number, unit in _PARTS_OF_SPAN.findall(text)))


def wait_in_text(message: str) -> float | None:
    """Find "try again in 5.289s" or "retry after 26 seconds" in an error message: the last resort."""
    found = _IN_TEXT.search(message)
    return _span(found["span"]) if found else None


def quoted_headers(body: Any) -> dict[str, str]:
    """Return the headers about limits and waits that an error quotes: OpenRouter's `error.metadata.headers`."""
    for name in "error", "metadata", "headers":
        body = body.get(name) if isinstance(body, dict) else None
    if not isinstance(body, dict):
        return {}
    headers = {str(name).lower(): str(value) for name, value in body.items()}
    return {name: value for name, value in headers.items() if name.startswith(("x-ratelimit-", "retry-after"))}


def _date(text: str) -> float | None:
    from email.utils import parsedate_to_datetime  # slow to import, and few servers send dates

    try:
        date = parsedate_to_datetime(text)
        # A date without a zone is GMT, as all HTTP dates are; Python would take it for local time.
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def rate_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """Read the rate-limit headers of an answer; None when there are none.

    OpenAI and its copies say `x-ratelimit-limit-requests`; Mistral, Cerebras and Kong add or name the period, as in
    `x-ratelimit-limit-req-minute`, and the shortest one sets the pace. Anthropic says
    `anthropic-ratelimit-requests-limit`, whose limit on tokens is the sum of those on input and output; its 429s show
    which of them binds. A reset is a duration, or a moment, which is compared with the answer's own date. The IETF's
    later drafts say `RateLimit: "default";r=50;t=30` and `RateLimit-Policy: "default";q=100;w=60`.
    """
    if _LIMITS.isdisjoint(headers):
        return None
    request_limit, requests_left, requests_reset = _limit(headers, _REQUESTS)
    if request_limit is None and requests_left is None:
        request_limit, requests_left, requests_reset = _bare_limit(headers)
    token_limit, tokens_left, tokens_reset = _limit(headers, _TOKENS)
    return RateLimits(request_limit, token_limit, requests_left, tokens_left, requests_reset, tokens_reset)


def _limit(headers: Mapping[str, str], names: tuple[_Names, ...]) -> tuple[float | None, float | None, float | None]:
    """Read the first of these limits that is there, what remains of it, and the seconds until its reset."""
    for limit, left, reset in names:
        if limit in headers:
            return (
                _count(headers[limit], least=1.0),
                _count(headers.get(left), least=0.0),
                _reset(headers.get(reset), headers),
            )
    return None, None, None


def _bare_limit(headers: Mapping[str, str]) -> tuple[float | None, float | None, float | None]:
    """Read a limit whose names do not say what is counted, nor how long, if there is a reset; of several the first."""
    found = _limit(headers, tuple(names for names in _BARE if names[0] in headers and names[2] in headers))
    if found[0] is None and "ratelimit" in headers:
        policy = headers.get("ratelimit-policy", "").partition(", ")[0]
        said = dict(_PARAMETERS.findall(f"{policy} {headers['ratelimit'].partition(', ')[0]}"))
        found = _count(said.get("q"), least=1.0), _count(said.get("r"), least=0.0), _reset(said.get("t"), headers)
    return found if None not in found else (None, None, None)


def _reset(text: str | None, headers: Mapping[str, str]) -> float | None:
    """Return the seconds until a reset; None for nonsense, or for more than the longest period of a limit."""
    if text is None:
        return None
    text = text.partition(", ")[0]  # of a header that came twice
    seconds = duration(text)
    if seconds is None or seconds >= SINCE_1970:
        now, until = _date(headers.get("date", "")), seconds if seconds is not None else _moment(text)
        if now is None or until is None:
            return None
        seconds = valid_seconds(_since_1970(until) - now)
    return seconds if seconds is not None and seconds <= DAY else None


def _since_1970(moment: float) -> float:
    """Return a moment in seconds, which servers give in those or in milliseconds."""
    return moment if moment < 1000 * SINCE_1970 else moment / 1000


def _moment(text: str) -> float | None:
    """Read an ISO date with a zone as seconds since 1970."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def _count(text: str | None, *, least: float) -> float | None:
    try:  # what follows is a header that came twice, or its period
        number = float(re.split(", |;", text)[0].replace(",", "")) if text is not None else math.nan
    except ValueError:
        return None
    return number if least <= number < 1e9 else None
