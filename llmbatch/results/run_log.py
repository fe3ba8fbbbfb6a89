"""Records the options of each run on a results file: one line per run, for people and to compare options."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmbatch.codec import json
from llmbatch.core.errors import UsageError
from llmbatch.core.version import __version__
from llmbatch.results import disk

__all__ = ["BATCHES", "OWN_FIELDS", "VERSION", "difference", "last_header", "write_header"]

VERSION, BATCHES = 1, 2
"""The version of a state folder, and of one that has tickets of batches; a newer one is an error."""
OWN_FIELDS = frozenset({"version", "llmbatch", "started_at"})
"""Fields of a header that are not options."""


def last_header(path: Path) -> dict[str, Any] | None:
    """Return the header of the last run, None when there is none. Raises UsageError for a newer version."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    for raw in reversed(lines):
        try:
            header = json.loads(raw)
        except ValueError:
            continue  # blank, or cut by a crash
        if isinstance(header, dict) and isinstance(header.get("version"), int):
            if header["version"] > BATCHES:
                raise UsageError(
                    f"{path.parent} was written by llmbatch {header.get('llmbatch')}, which is newer than this one",
                    "Use that version, or choose another -o FILE.",
                )
            return header
    return None


def write_header(path: Path, asked: Mapping[str, Any], version: int = VERSION) -> None:
    """Add the header of this run: its options, as plain values by name. Raises OSError."""
    started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    header = {"version": version, "llmbatch": __version__, "started_at": started_at, **asked}
    fd = disk.create(path)
    try:
        disk.append(fd, b"\n" + json.dumps(header) + b"\n")  # the first newline ends what a crash may have cut
        disk.sync(fd)
    finally:
        os.close(fd)
    disk.sync_folder(path.parent)


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Name the options that differ, with their values."""
    before, now = _one_by_one(before), _one_by_one(now)
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return "; ".join(f"{name}: {_short(before.get(name))} before, {_short(now.get(name))} now" for name in names)


def _one_by_one(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with those that hold parameters taken apart, so that a difference names the parameter."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= {f"{name} {key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = json.dumps(value).decode()
    return text if len(text) <= 80 else f"{text[:79]}…"
