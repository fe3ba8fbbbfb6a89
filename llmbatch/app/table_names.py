"""Tables and the results files beside them, by their names: X.csv is written from X.jsonl.

What a run wrote last is noted in X.jsonl.state/, so that any other X.csv is known.
"""

import os
from pathlib import Path
from typing import Any

from llmbatch.codec import json
from llmbatch.core.errors import UsageError

__all__ = ["NOTES", "notes_of", "results_path", "results_path_of", "shape_named", "state_folder"]

NOTES = "tables.json"

_SHAPES = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}


def shape_named(path: Path) -> str | None:
    """Return the shape that the name of a file asks for, if it does."""
    return _SHAPES.get(path.suffix.lower())


def results_path(name: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """Return the results file that `-o` stands for, and the table that is written from it, if `-o` names one.

    Raises UsageError for the name of a folder.
    """
    text, path = os.fspath(name), Path(name)
    if text.endswith("/"):
        raise UsageError(f"-o {text} is a folder", f"Name a file in it: -o {path / 'results.jsonl'}")
    return (path, None) if shape_named(path) is None else (path.with_suffix(".jsonl"), path)


def results_path_of(name: str) -> str:
    """Return the results file that a table was written from; any other name as it is."""
    if shape_named(Path(name)) is None:
        return name
    path, table = results_path(name)
    return str(path) if table is not None and table.name in notes_of(state_folder(path)) else name


def state_folder(results: Path) -> Path:
    """Return FILE.state/."""
    real = Path(os.path.realpath(results))
    return real.with_name(f"{real.name}.state")


def notes_of(state: Path) -> dict[str, Any]:
    """Read what is noted of tables, by their names."""
    try:
        notes = json.loads((state / NOTES).read_bytes())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}
