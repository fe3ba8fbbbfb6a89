"""Scripted faults: reads the markers in a prompt with the options of each fault, and says which one is due. Pure.

A marker is `[[mock:NAME key=value ...]]`; values are URL-quoted where they hold spaces or brackets, and a value without
a key is that of the fault's first key: `[[mock:status 429]]`. Several markers in one prompt follow each other: each one
is due `times` times, one without `times` for ever.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

__all__ = ["FAULTS", "RANDOM", "BadMarker", "Fault", "due", "markers", "without_markers"]

FAULTS: dict[str, dict[str, Any]] = {
    # The text of the answer.
    "text": {"value": ""},
    "echo": {},
    "control": {},
    "surrogate": {},
    "big": {"mb": 1.0},
    "bad-utf8": {},
    # The shape of the answer.
    "null-choices": {},
    "empty-choices": {},
    "no-choices": {},
    "refusal": {},
    "content-filter": {},
    "length": {},
    "model-length": {},
    "no-usage": {},
    "null-content": {},
    "array-content": {},
    "reasoning": {},
    "image": {},
    "audio": {},
    "citations": {},
    "function-call": {},
    "zero-usage": {},
    # The count of the answers, where a request has several inputs.
    "one-missing": {},
    "one-twice": {},
    "backwards": {},
    "no-index": {},
    # The status inside the answer, of a response.
    "failed": {"code-name": "server_error"},
    "unfinished": {},
    # The stream; these answer with one even if none was asked for.
    "stream-cut": {},
    "stream-error": {},
    "no-done": {},
    # Another status or body.
    "status": {
        "code": 500,
        "body": ("", "openai", "html", "empty", "flat", "detail", "gemini", "string", "anthropic"),
        "retry-after": "",
        "retry-after-ms": "",
        "should-retry": ("", "true", "false"),
        "code-name": "",
        "type": "",
        "message": "",
    },
    "html": {},
    "empty": {},
    "error-200": {"code": 500, "body": ("", "words", "base-resp", "detail"), "number": 1000, "message": ""},
    "redirect": {"code": 307, "location": "/elsewhere"},
    "nan": {},
    "huge-number": {},
    "deep": {"depth": 100_000},
    "bom": {},
    "gzip": {},
    "bomb": {"mb": 100},
    "bad-gzip": {},
    "truncated-gzip": {},
    "br": {},
    "huge-headers": {"kb": 256},
    "extra-bytes": {},
    # How the reply is sent.
    "hang": {},
    "reset": {"where": ("before", "headers", "body")},
    "close": {},
    "cut": {"at": 10},
    "cut-chunked": {},
    "drip": {"interval": 0.05, "where": ("body", "headers", "blank")},
    "wrong-length": {},
    "negative-length": {},
    "junk-status": {},
    "1xx": {},
    "trailers": {},
    # The row of a batch; elsewhere this changes nothing.
    "batch": {"row": ("expire", "missing", "invalid", "duplicate-row", "stranger", "unreadable")},
}
"""Every fault with its keys and their defaults. A tuple lists the values allowed, the default first."""

_COMMON: dict[str, Any] = {"times": 0, "after": 0.0}

_MARKER = re.compile(r"\[\[mock:([^\s\]]*)((?:\s+[^\s\]]+)*)\s*\]\]")


class BadMarker(ValueError):
    """A marker with an unknown fault, option or value."""


class Fault(NamedTuple):
    """One scripted fault: for `times` requests (0: all), `after` seconds late, with its options."""

    name: str
    options: dict[str, Any]
    times: int = 0
    after: float = 0.0


def markers(text: str) -> list[Fault]:
    """Return the faults a prompt asks for, in order. Raises BadMarker."""
    if "[[mock:" not in text:
        return []
    return [_fault(match[1], match[2].split()) for match in _MARKER.finditer(text)]


def without_markers(text: str) -> str:
    """Return the prompt without its markers."""
    return _MARKER.sub("", text).strip() if "[[mock:" in text else text


def due(script: Sequence[Fault], attempt: int) -> Fault | None:
    """Return the fault for this attempt, counted from 0; None when the script is over."""
    for fault in script:
        if not fault.times or attempt < fault.times:
            return fault
        attempt -= fault.times
    return None


def _fault(name: str, pairs: list[str]) -> Fault:
    if name not in FAULTS:
        raise BadMarker(f"unknown mock fault {name!r}; there are: {', '.join(FAULTS)}")
    keys = FAULTS[name] | _COMMON
    options = {key: default[0] if isinstance(default, tuple) else default for key, default in keys.items()}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals and key not in keys:
            key, value = next(iter(keys)), key
        if key not in keys:
            raise BadMarker(f"mock fault {name!r} has no key {key!r}; it has: {', '.join(keys)}")
        options[key] = _value(f"{name} {key}", unquote(value), keys[key])
    return Fault(name, options, options.pop("times"), options.pop("after"))


def _value(where: str, value: str, default: Any) -> Any:
    if isinstance(default, tuple):
        if value not in default:
            raise BadMarker(f"mock fault {where} is one of {', '.join(filter(None, default))}, not {value!r}")
        return value
    try:
        number = type(default)(value)
    except ValueError:
        raise BadMarker(f"mock fault {where} must be a number, not {value!r}") from None
    low, high = (200, 599) if where.endswith(" code") else (0, 10**9)
    if not isinstance(number, str) and not low <= number <= high:
        raise BadMarker(f"mock fault {where} is out of range: {value}")
    return number


RANDOM = tuple(
    markers(
        "[[mock:status code=500]] [[mock:status code=503 code-name=server_is_overloaded]]"
        "[[mock:status code=429 code-name=rate_limit_exceeded retry-after=1]] [[mock:reset]] [[mock:cut]]"
    )
)
"""What `fault_rate` draws from."""
