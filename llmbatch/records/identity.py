"""Which record is which: by its id, else by what is in it and how often that was there before."""

from collections.abc import Mapping
from typing import Any

from llmbatch.core.prompt import RecordError

__all__ = ["id_fields", "named"]


def id_fields(option: str | None) -> tuple[str, ...]:
    """Return the fields that may hold the id, as `--id-field` has it: by default `id`, then `custom_id`."""
    if option is None:
        return ("id", "custom_id")
    return () if option == "none" else (option,)


def named(fields: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str | int | None, tuple[str, ...]]:
    """Return a record's id and the fields looked at for it. Raises RecordError.

    Absent, null and "" are no id.
    """
    for number, name in enumerate(names, 1):
        value = fields.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise RecordError(f"{name} must be a string or an integer to be an id")
        return value, names[:number]
    return None, names
