"""Which record is which: by its id, else by what is in it and how often that was there before."""

from collections.abc import Mapping
from typing import Any

from llmbatch.core.prompt import RecordError

__all__ = ["IdFields", "id_fields", "named"]

IdFields = tuple[tuple[str, tuple[str, ...]], ...]
"""The fields that may hold an id, in order; each with those that have been looked at by then."""


def id_fields(option: str | None) -> IdFields:
    """Return the fields that may hold the id, as `--id-field` has it: by default `id`, then `custom_id`."""
    if option is None:
        return (("id", ("id",)), ("custom_id", ("id", "custom_id")))
    return () if option == "none" else ((option, (option,)),)


def named(fields: Mapping[str, Any], names: IdFields) -> tuple[str | int | None, tuple[str, ...]]:
    """Return a record's id and the fields looked at for it. Raises RecordError.

    Absent, null and "" are no id.
    """
    looked_at: tuple[str, ...] = ()
    for name, looked_at in names:
        value = fields.get(name)
        if value is None or value == "":
            continue
        if type(value) not in (int, str):  # not a boolean either, which is an integer to Python
            raise RecordError(f"{name} must be a string or an integer to be an id")
        return value, looked_at
    return None, looked_at
