"""Converts rows of Arrow batches to Python values, also of types that Python lacks."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from llmbatch.input.plain import Described

__all__ = ["array_values", "batch_rows"]

_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_AT_ONCE = 1024
"""Values of an array that are converted before the first of them is read."""
_DAY = 86_400
_CYCLE = 146_097
"""Days of 400 years, after which the calendar repeats itself."""


def batch_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a pyarrow.RecordBatch. Raises ValueError for two columns of one name.

    What Python cannot hold (nanoseconds, years beyond 9999, zones that this machine does not know) is ISO text, moments
    in UTC. The text depends on the value and its type alone: not on other values, nor on pandas.
    """
    names = batch.schema.names
    if len(set(names)) < len(names):
        raise ValueError(f"two columns are named {next(name for name in names if names.count(name) > 1)!r}")
    for row in zip(*map(_values, batch.columns), strict=True):
        yield dict(zip(names, row, strict=True))


def array_values(array: Any) -> Iterator[Any]:
    """Yield the values of a pyarrow.Array or ChunkedArray, converted as those of a column are."""
    for chunk in getattr(array, "chunks", [array]):
        for start in range(0, len(chunk), _AT_ONCE):
            yield from _values(chunk.slice(start, _AT_ONCE))


def _values(column: Any) -> list[Any]:
    if not _is_ours(column.type):
        try:
            values: list[Any] = column.to_pylist()
            return values
        except Exception:  # of many kinds: it depends on the type that Python lacks
            pass
    return [_value(scalar) for scalar in column]


def _is_ours(type: Any) -> bool:
    """Say whether values of a type are always converted here: Python has no nanoseconds."""
    from pyarrow import types

    if types.is_dictionary(type):
        return _is_ours(type.value_type)
    if type.num_fields:
        return any(_is_ours(type.field(number).type) for number in range(type.num_fields))
    return types.is_duration(type) or getattr(type, "unit", None) == "ns"


def _value(scalar: Any) -> Any:
    import pyarrow as pa
    from pyarrow import types

    if not scalar.is_valid:
        return None
    type = scalar.type
    if isinstance(scalar, pa.StructScalar):
        names = [type.field(number).name for number in range(type.num_fields)]
        if len(set(names)) < len(names):
            return Described(str(scalar), "holds an object with two fields of one name")
        return {name: _value(scalar[name]) for name in names}
    if isinstance(scalar, pa.MapScalar):
        return [[_value(pair[0]), _value(pair[1])] for pair in scalar.values]
    if isinstance(scalar, pa.ListScalar | pa.FixedSizeListScalar | pa.LargeListScalar):
        return [_value(inner) for inner in scalar.values]
    if isinstance(scalar, pa.DictionaryScalar | pa.ExtensionScalar):
        return _value(scalar.value)
    try:
        if not _is_ours(type):
            return scalar.as_py()
    except Exception:
        if not types.is_temporal(type):
            return _described(scalar)
    return _time_text(scalar)


def _described(scalar: Any) -> Any:
    try:
        return scalar.as_buffer().to_pybytes()  # text that is not UTF-8
    except Exception:
        return Described(str(scalar), f"holds a {scalar.type} that cannot be read")


def _time_text(scalar: Any) -> str:
    """Write a date, a time of day, a moment or a duration from the number that stands for it."""
    from pyarrow import types

    type, number = scalar.type, scalar.value
    if types.is_date32(type):
        return _day(number)
    if types.is_date64(type):
        return _day(number // (_DAY * 1000))
    second = _A_SECOND[type.unit]
    days, rest = divmod(number, _DAY * second)
    time = _time(rest, second)
    if types.is_time(type):
        return time
    if types.is_duration(type):  # as Python writes a timedelta
        hours = time.removeprefix("0")
        return f"{days} day{'' if abs(days) == 1 else 's'}, {hours}" if days else hours
    return f"{_day(days)}T{time}" + ("+00:00" if type.tz else "")


def _day(days: int) -> str:
    """Write a day, counted from 1970, in any year."""
    cycles, ordinal = divmod(days + date(1970, 1, 1).toordinal() - 1, _CYCLE)
    day = date.fromordinal(ordinal + 1)
    return f"{day.year + 400 * cycles:04d}-{day.month:02d}-{day.day:02d}"


def _time(rest: int, second: int) -> str:
    """Write a time of day, with as many digits of a second as Python writes, or nine."""
    seconds, fraction = divmod(rest, second)
    nanoseconds = fraction * (10**9 // second)
    digits = f".{nanoseconds:09d}" if nanoseconds % 1000 else f".{nanoseconds // 1000:06d}" if nanoseconds else ""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{digits}"
