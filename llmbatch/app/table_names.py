"""Finds the results file of a table, and the other way round, by their names: X.csv is written from X.jsonl.

X.jsonl.state/ notes what a run wrote last, so that a table which is not ours is recognised.
"""

import os
from pathlib import Path
from typing import Any

from llmbatch.codec import json
from llmbatch.core.errors import UsageError

__all__ = ["NOTES", "read_notes", "results_of_table", "results_path", "shape_named", "state_folder"]

NOTES = "tables.json"

_SHAPES = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}


def shape_named(path: Path) -> str | None:
    """Return the shape that a file has by its name, None for other names."""
    return _SHAPES.get(path.suffix.lower())


def results_path(name: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """Return the results file that `-o` stands for, and the table that is written from it, if `-o` names one.

    Raises UsageError for the name of a folder.
    """
    text, path = os.fspath(name), Path(name)
    if text.endswith("/"):
        raise UsageError(f"-o {text} is a folder", f"Name a file in it: -o {path / 'results.jsonl'}")
    return (path, None) if shape_named(path) is None else (path.with_suffix(".jsonl"), path)


def results_of_table(name: str) -> str:
    """Return the results file that a table was written from; any other name as it is."""
    if shape_named(Path(name)) is None:
        return name
    path, table = results_path(name)
    return str(path) if table is not None and table.name in read_notes(state_folder(path)) else name


def state_folder(results: Path) -> Path:
    """Return FILE.state/."""
    real = Path(os.path.realpath(results))
    return real.with_name(f"{real.name}.state")


def read_notes(state: Path) -> dict[str, Any]:
    """Read the notes about tables, by their names."""
    try:
        notes = json.loads((state / NOTES).read_bytes())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}
