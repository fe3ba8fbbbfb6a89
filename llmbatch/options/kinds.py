"""The kinds of values that options have, and how they are read: from the text of a flag or from a value in Python."""

import math
import os
import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llmbatch.core.clock import duration
from llmbatch.core.errors import UsageError
from llmbatch.core.settings import PartSize, Redo, Tolerance
from llmbatch.options.option import Kind, spelled

__all__ = [
    "CONCURRENCY",
    "DELIMITER",
    "DOLLARS",
    "DURATION",
    "DURATION_OR_0",
    "FILE",
    "FILE_NAME",
    "FILE_NAMES",
    "FILE_OR_STDOUT",
    "FOLDER",
    "FORMAT",
    "INCLUDE",
    "INTEGER",
    "META",
    "NAMES",
    "NAME_SET",
    "NUMBER",
    "OUTPUT",
    "PACK",
    "PART_SIZE",
    "RATE",
    "REDO",
    "SHARD",
    "SWITCH",
    "TEXT",
    "TEXT_OR_FILE",
    "TOLERANCE",
    "VARIABLE",
    "count",
    "one_of",
    "several",
]


def several(value: Any) -> Collection[Any]:
    """Return the values of an option that takes several; in Python a single one need not be in a list."""
    return [value] if isinstance(value, str | os.PathLike) else value


def count(least: int) -> Kind:
    """Return the kind of numbers that count something, from `least` on."""

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, int) or value < least:
            raise UsageError(f"{spelled(name, value)} is not a number of {least} or more")
        return value

    return Kind(int, "N", read)


def one_of(*choices: str) -> Kind:
    """Return the kind of which the values are these words."""

    def read(name: str, value: Any) -> Any:
        return _chosen(name, value, choices)

    return Kind(str, "|".join(choices), read, choices=choices)


def _chosen(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        similar = get_close_matches(str(value), choices, n=1)
        raise UsageError(
            f"{spelled(name, value)} is not one of {', '.join(choices)}",
            f"Did you mean {similar[0]}?" if similar else None,
        )
    return value


def _number(metavar: str, what: str, example: float, is_valid: Callable[[float], bool]) -> Kind:
    def read(name: str, value: Any) -> Any:
        if not isinstance(value, int | float) or not is_valid(value):
            raise UsageError(f"{spelled(name, value)} is not {what}", f"Example: {spelled(name, example)}")
        return value

    return Kind(float, metavar, read)


def _seconds(*, zero: bool) -> Kind:
    def read(name: str, value: Any) -> Any:
        if isinstance(value, str):
            seconds = 0.0 if zero and value.strip() in ("0", "0s") else duration(value)
        else:
            valid = isinstance(value, int | float) and (value > 0 or (zero and value == 0))
            seconds = value if valid else None
        if seconds is None:
            raise UsageError(f"{spelled(name, value)} is not a duration", _durations(name))
        return seconds

    return Kind(str, "S", read, lambda seconds: f"{seconds:g}" if math.isfinite(seconds) else None)


def _durations(name: str) -> str:
    if name.startswith("-"):
        return "Examples: 90, 90s, 10m, 2h, 7d."
    return "A number of seconds, or text like 90s, 10m, 2h, 7d."


def _tolerance(name: str, value: Any) -> Tolerance:
    try:
        return Tolerance.parse(str(value))
    except ValueError:
        examples = f"{spelled(name, 10)}, {name} 1%" if name.startswith("-") else f"{spelled(name, 10)}, {name}='1%'"
        raise UsageError(f"{spelled(name, value)} is not none, N or P%", f"Examples: {examples}.") from None


def _concurrency(name: str, value: Any) -> int | None:
    return _auto_or_number(name, value, "requests", None)


def _pack(name: str, value: Any) -> int | None:
    from llmbatch.dialects.providers import MOST_PACKED

    return _auto_or_number(name, value, "inputs", MOST_PACKED)


def _auto_or_number(name: str, value: Any, what: str, most: int | None) -> int | None:
    if value == "auto":
        return None
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or number < 1 or (most is not None and number > most):
        up_to = "of 1 or more" if most is None else f"up to {most}"
        raise UsageError(f"{spelled(name, value)} is not a number of {what}", f"Use auto, or a number {up_to}.")
    return number


def _auto(number: int | None) -> Any:
    return "auto" if number is None else str(number)


def _meta(name: str, value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value if value in ("all", "none") else tuple(value.split(","))
    return tuple(value)


def _shard(name: str, value: Any) -> tuple[int, int]:
    parts = value.split("/") if isinstance(value, str) else value
    if isinstance(value, str) and all(part.isdecimal() for part in parts):
        parts = tuple(map(int, parts))
    if isinstance(parts, tuple) and len(parts) == 2 and 1 <= parts[0] <= parts[1]:
        return parts
    if name.startswith("-"):
        raise UsageError(f"{spelled(name, value)} is not I/N", f"Examples: {name} 1/4, and so on to {name} 4/4.")
    raise UsageError(f"{spelled(name, value)} is not (I, N)", "Examples: (1, 4), and so on to (4, 4).")


def _delimiter(name: str, value: Any) -> str | None:
    from llmbatch.input.source import checked_delimiter

    return checked_delimiter(value)


def _variable(name: str, value: Any) -> str:
    if not str(value).isidentifier():  # it may be a key, so it is not shown
        raise UsageError(f"{name} is not the name of a variable", "It takes the name, never the key itself.")
    return str(value)


def _include(name: str, value: Any) -> frozenset[str]:
    parts = frozenset(part for each in several(value) for part in each.split(","))
    return frozenset(_chosen(name, part, INCLUDE.choices) for part in parts)


def _folder(name: str, value: Any) -> Path:
    if not os.path.isdir(value):
        raise UsageError(f"{name} {value} is not a directory", "Make it first, or name another one.")
    if not os.access(value, os.W_OK | os.X_OK):
        raise UsageError(f"{name} {value} cannot be written to", "Name a directory that can.")
    return Path(value)


def _output(name: str, value: Any) -> tuple[Path | None, Path | None, Path | None]:
    """Return the results file, the table that is written from it, and the folder of a run of parts."""
    from llmbatch.app.table_names import results_path

    if value == "-":
        return None, None, None
    if not os.fspath(value):
        raise UsageError(f"{name} is empty, as a variable that is not set gives", "Name a file, or leave it out.")
    if "://" in os.fspath(value):
        raise UsageError(f"{name} is an address", "Results are written to files; copy them when the run has ended.")
    if os.fspath(value).endswith("/"):
        return None, None, Path(value)
    return *results_path(value), None


def _stdout_or(path: Path) -> Path:
    return Path("/dev/stdout") if path == Path("-") else path


def _part_size(name: str, value: Any) -> PartSize:
    found = re.fullmatch(r"(\d+)(k|M)?(B)?", str(value).replace("_", ""))
    if found is None or not int(found[1]):
        raise UsageError(
            f"{spelled(name, value)} is not a number of records or bytes", f"Examples: {name} 100k, {name} 64MB."
        )
    return PartSize(int(found[1]) * {"k": 1000, "M": 1_000_000, None: 1}[found[2]], "bytes" if found[3] else "records")


def _redo(name: str, value: Any) -> Redo:
    from llmbatch.app.redo import parse_redo

    return parse_redo(value)


SWITCH = Kind(bool)
TEXT = Kind(str, "NAME")
VARIABLE = Kind(str, "NAME", _variable)
TEXT_OR_FILE = Kind(str, "TEXT|@FILE", names_file="after @")
NAMES = Kind(list[str], "NAME", lambda name, value: tuple(several(value)))
NAME_SET = Kind(list[str], "NAME", lambda name, value: frozenset(several(value)))

FILE = Kind(Path, "PATH", lambda name, value: Path(value), names_file="always")
FILE_OR_STDOUT = Kind(Path, "PATH", lambda name, value: _stdout_or(Path(value)), names_file="always")
FILE_NAME = Kind(str, "PATH", lambda name, value: os.fspath(value), names_file="always")
FILE_NAMES = Kind(list[str], "FILE", lambda name, value: tuple(map(os.fspath, several(value))), names_file="always")
FOLDER = Kind(Path, "DIR", _folder, names_file="always")
OUTPUT = Kind(str, "FILE|DIR/", _output, names_file="always")
PART_SIZE = Kind(str, "N", _part_size)

INTEGER = Kind(int, "N")
NUMBER = _number("N", "a number", 0.2, math.isfinite)
RATE = _number("N", "a rate", 600, lambda rate: 1 <= rate < math.inf)
DOLLARS = _number("USD", "an amount of US dollars", 5, lambda amount: 0 < amount < math.inf)
DURATION = _seconds(zero=False)
DURATION_OR_0 = _seconds(zero=True)
TOLERANCE = Kind(str, "none|N|P%", _tolerance, str)
CONCURRENCY = Kind(str, "N|auto", _concurrency, _auto, choices=("auto",))
PACK = Kind(str, "N|auto", _pack, _auto, choices=("auto",))

FORMAT = one_of("jsonl", "json", "csv", "tsv", "text", "openai-batch", "anthropic-batch", "cookbook", "parquet")
DELIMITER = Kind(str, "CHARACTER", _delimiter, choices=("tab",))
META = Kind(str, "all|none|FIELD,...", _meta, choices=("all", "none"))
SHARD = Kind(str, "I/N", _shard)
INCLUDE = Kind(list[str], "request|response|input", _include, choices=("request", "response", "input"))
REDO = Kind(
    str,
    "unbilled|none|all|KIND,...|@FILE",
    _redo,
    choices=("unbilled", "none", "all"),
    names_file="after @",
)
