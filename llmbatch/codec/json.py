"""JSON in and out; the only file that imports orjson.

orjson is fast but narrower than JSON: it turns integers beyond 64 bits into floats and cannot write what is
nested deeper than 254. Where that would change or lose something, the standard library takes over.
"""

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from llmbatch.codec.text import HEAD, wide_encoding

__all__ = [
    "canonical",
    "dumps",
    "event_parser",
    "first_value",
    "glued_values",
    "is_deeper",
    "is_unicode",
    "line_parser",
    "loads",
    "loads_halves",
    "loads_lenient",
    "loads_rounded",
    "loads_shallow",
    "unwritable",
    "with_pairs",
]

DEEPEST = 200
"""The deepest nesting of a value: safe for everything that walks or writes it recursively."""

DEEPEST_STANDARD = 600
"""The deepest nesting that the standard library gets to read or write. Its own limit is the interpreter's limit of
recursion, which differs between versions and with the caller's stack."""

MOST = 1_000_000
"""Lists and objects in one value."""

_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_WIDE_NUMBER = b"0" * 19  # the fewest digits of an integer beyond 64 bits; much faster than a regex


def loads(data: bytes) -> Any:
    """Parse strict JSON, integers of any size exact.

    Raises ValueError (with `lineno` and `colno`) for anything else: NaN, lone surrogates, a byte order mark,
    invalid UTF-8, nesting deeper than 1,024, or than `DEEPEST_STANDARD` beside an integer of 19 digits.
    """
    value = orjson.loads(data)
    if not _may_hold_wide_number(data):
        return value
    if is_deeper(value, DEEPEST_STANDARD):
        raise json.JSONDecodeError("depth limit exceeded", "", 0)
    return json.loads(data)


def line_parser(texts: Iterable[bytes]) -> Callable[[bytes], Any]:
    """Return a faster parser for these texts, with the same results as `loads`."""
    return loads if _may_hold_wide_number(b"\n".join(texts)) else orjson.loads


def _may_hold_wide_number(data: bytes) -> bool:
    return _WIDE_NUMBER in data.translate(_DIGITS_TO_ZERO)


def loads_rounded(data: bytes) -> Any:
    """Parse faster than `loads` does: integers beyond 64 bits become floats."""
    return orjson.loads(data)


def loads_shallow(data: bytes) -> Any:
    """Parse as `loads` does, and raise ValueError for values that are nested so deep that `dumps` might not write them.

    Also for values that would take gigabytes: an empty object has two bytes on the wire, and many more in memory.
    """
    if len(data) <= 2 * DEEPEST:  # each level takes two brackets
        return loads(data)
    # Removing the brackets and comparing lengths is much faster than counting them.
    brackets = 2 * len(data) - len(data.replace(b"[", b"")) - len(data.replace(b"{", b""))
    if brackets > MOST:
        raise json.JSONDecodeError(f"more than {MOST:,} lists and objects", "", 0)
    value = loads(data)
    if brackets > DEEPEST and is_deeper(value, DEEPEST):
        raise json.JSONDecodeError(f"nested deeper than {DEEPEST} levels", "", 0)
    return value


def event_parser(stream: bytes) -> Callable[[bytes], Any]:
    """Return a faster parser for the events of a stream, with the same results as `loads_shallow`."""
    return loads_shallow if _may_hold_wide_number(stream) else _loads_narrow


def _loads_narrow(data: bytes) -> Any:
    return orjson.loads(data) if len(data) <= 2 * DEEPEST else loads_shallow(data)


def loads_halves(data: bytes) -> Any:
    """Parse as `loads_shallow` does, also texts with halves of characters, which `with_pairs` joins again.

    A stream may cut a pair of surrogates in two. Raises ValueError.
    """
    if b"\\ud" not in data.lower():
        raise json.JSONDecodeError("no surrogates", "", 0)
    try:
        value = json.loads(data)
    except RecursionError:
        raise json.JSONDecodeError("depth limit exceeded", "", 0) from None
    if is_deeper(value, DEEPEST):
        raise json.JSONDecodeError(f"nested deeper than {DEEPEST} levels", "", 0)
    return value


def loads_lenient(data: bytes, encoding: str) -> Any:
    """Parse as `loads_shallow` does, also texts with control characters, and in another encoding. Raises ValueError.

    A byte order mark is right about the encoding.
    """
    if data.count(b"[") + data.count(b"{") > MOST:
        raise json.JSONDecodeError(f"more than {MOST:,} lists and objects", "", 0)
    try:
        text = data.decode(wide_encoding(data[:HEAD]) or encoding).removeprefix("\N{BYTE ORDER MARK}")
        value = json.loads(text, strict=False, parse_constant=_refuse, parse_float=_finite)
    except (RecursionError, LookupError):  # nested too deep, or an encoding that is unknown
        raise json.JSONDecodeError("neither JSON nor nearly", "", 0) from None
    if is_deeper(value, DEEPEST):
        raise json.JSONDecodeError(f"nested deeper than {DEEPEST} levels", "", 0)
    return with_pairs(value)


def _refuse(written: str) -> float:
    raise json.JSONDecodeError(f"{written} is not JSON", "", 0)


def _finite(written: str) -> float:
    value = float(written)
    return value if math.isfinite(value) else _refuse(written)


def with_pairs(value: Any) -> Any:
    """Join the halves of characters in all texts of a value. Raises ValueError for a half without its other half."""
    if isinstance(value, str):
        return value if is_unicode(value) else value.encode("utf-16", "surrogatepass").decode("utf-16")
    if isinstance(value, list):
        return [with_pairs(one) for one in value]
    if isinstance(value, dict):
        return {with_pairs(name): with_pairs(one) for name, one in value.items()}
    return value


def first_value(data: bytes) -> tuple[Any, bytes]:
    """Parse the JSON at the beginning of a text, as `loads_shallow` does; return it and the rest of the text.

    Raises ValueError.
    """
    text = data.decode().lstrip()
    try:
        end = json.JSONDecoder().raw_decode(text)[1]
    except RecursionError:
        raise json.JSONDecodeError("depth limit exceeded", "", 0) from None
    return loads_shallow(text[:end].encode()), text[end:].encode()


def glued_values(data: bytes, glue: str) -> list[Any]:
    """Parse JSON values that follow each other, with or without `glue` between them, as `loads_shallow` does.

    Raises ValueError.
    """
    text = data.decode()
    values = []
    between = re.compile(rf"(?:\s|{re.escape(glue)})*")
    end = between.match(text).end()  # type: ignore[union-attr]  # it matches everywhere
    while end < len(text):
        start = end
        try:
            end = json.JSONDecoder().raw_decode(text, start)[1]
        except RecursionError:
            raise json.JSONDecodeError("depth limit exceeded", "", 0) from None
        values.append(loads_shallow(text[start:end].encode()))
        end = between.match(text, end).end()  # type: ignore[union-attr]
    return values


def is_deeper(value: Any, levels: int) -> bool:
    """Tell whether arrays and objects are nested in more levels than that."""
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        if not layer:
            return False
        layer = [
            child
            for node in layer
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return bool(layer)


def dumps(value: Any) -> bytes:
    """Encode on one line, without a newline, keys in their order. Raises ValueError when that is impossible."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return _dumps_stdlib(value, sort_keys=False)


def canonical(value: Any) -> bytes:
    """Encode with sorted keys, so that equal values have equal bytes."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _dumps_stdlib(value, sort_keys=True)


def unwritable(value: Any, depth: int = DEEPEST) -> str | None:
    """Say why a value of the user cannot be written as JSON; None when it can.

    Integers beyond 64 bits count too: JSON has them, but hardly any server reads them exactly.
    """
    match value:
        case None | bool():
            return None
        case str():
            return None if is_unicode(value) else "text that is not Unicode (bytes that are not UTF-8)"
        case int():
            return None if -(1 << 63) <= value < 1 << 64 else "an integer of more than 64 bits"
        case float():
            return None if math.isfinite(value) else f"{value}, which is not a number in JSON"
        case dict() | list() | tuple() if not depth:
            return f"more than {DEEPEST} levels"
        case dict():
            if not all(isinstance(name, str) for name in value):
                return "an object with a name that is not text"
            return next(filter(None, (unwritable(each, depth - 1) for pair in value.items() for each in pair)), None)
        case list() | tuple():
            return next(filter(None, (unwritable(each, depth - 1) for each in value)), None)
    return f"a {type(value).__name__}"


def is_unicode(text: str) -> bool:
    """Say whether text has no lone surrogates: Python makes them of arguments that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _dumps_stdlib(value: Any, *, sort_keys: bool) -> bytes:
    if is_deeper(value, DEEPEST_STANDARD):
        raise ValueError(f"cannot be written as JSON: nested deeper than {DEEPEST_STANDARD} levels")
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=sort_keys).encode("ascii")
    except TypeError as error:
        raise ValueError(f"cannot be written as JSON: {error}") from error
