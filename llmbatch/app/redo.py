"""`--redo`: reads which records with a result are to be sent again."""

from difflib import get_close_matches

from llmbatch.codec import json
from llmbatch.codec.text import decode_text
from llmbatch.core.errors import UsageError
from llmbatch.core.fault import Kind
from llmbatch.core.settings import Redo

__all__ = ["parse_redo"]

_KINDS = tuple(map(str, Kind))


def parse_redo(text: str) -> Redo:
    """Read `unbilled`, `none`, `all`, kinds of failure with commas between them, or @ and a file of ids.

    Raises UsageError for an unknown kind, and for a file that cannot be read or names no id.
    """
    if text in ("unbilled", "none", "all"):
        return Redo(text)
    if text.startswith("@"):
        return Redo(ids=_read_ids(text[1:]))
    kinds = frozenset(kind.strip() for kind in text.split(","))
    for kind in sorted(kinds.difference(_KINDS)):
        near = get_close_matches(kind, ("unbilled", "none", "all", *_KINDS), n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Kinds are: {', '.join(_KINDS)}."
        raise UsageError(f"--redo {kind!r} is not unbilled, none, all, @FILE or a kind of failure", hint)
    return Redo(kinds=kinds)


def _read_ids(path: str) -> frozenset[str | int]:
    """Read a file with an id on each line: as JSON, as bare text, or as the `id` of an object like a result line.

    A bare number names both the number and the text: `jq -r .id` writes them alike.
    """
    try:
        with open(path, "rb") as file:
            lines = [line.strip() for line in decode_text(file.read()).split("\n")]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--redo @{path}: {reason}", "Name a file with one id on each line.") from None
    ids = frozenset(id for line in lines if line for id in _ids(line))
    if not ids:
        raise UsageError(f"--redo @{path}: the file names no id", "Write one id on each line.")
    return ids


def _ids(line: str) -> tuple[str | int, ...]:
    try:
        value = json.loads(line.encode())
    except ValueError:
        return (line,)
    if isinstance(value, dict):
        id = value.get("id")
        return (id,) if isinstance(id, str | int) and not isinstance(id, bool) else ()
    if isinstance(value, str):
        return (value,)
    return (value, line) if isinstance(value, int) and not isinstance(value, bool) else (line,)
