"""Checks by the first records of an input whether the fields that options name exist, and whether any can be sent."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from llmbatch.core.errors import InputError, UsageError
from llmbatch.core.job import Job
from llmbatch.core.outcome import InvalidRecord
from llmbatch.core.settings import InputSettings
from llmbatch.input.entry import Entry

__all__ = ["FIRST", "FirstRecords", "WantedFields", "fields_named_by"]

FIRST = 100
"""So many first records show what an input is."""
LEAST = 10
"""So many records are enough in a shorter input."""

_PARTICULARS = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,.]*|0x[0-9a-f]+")


def fields_named_by(input: InputSettings) -> dict[str, str]:
    """Return the fields that options name, each with its option."""
    named = {name: "--meta" for name in input.meta if name} if not isinstance(input.meta, str) else {}
    named |= dict.fromkeys(input.images, "--image")
    if input.id_field not in (None, "none", ""):
        named[str(input.id_field)] = "--id-field"
    return named


class WantedFields:
    """The fields that options name, until a record has them."""

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self._missing = dict(wanted)
        self._seen: dict[str, None] = {}

    @property
    def are_found(self) -> bool:
        """Whether each field was found in a record."""
        return not self._missing

    def look_at(self, entries: Sequence[Entry]) -> None:
        """Note which fields these records have."""
        if self._missing:
            for entry in entries:
                fields = entry.value if isinstance(entry.value, dict) else ("prompt",) if entry.error is None else ()
                self._seen.update(dict.fromkeys(fields))
            self._missing = {name: option for name, option in self._missing.items() if name not in self._seen}

    def conclude(self) -> None:
        """Raise UsageError for a field that no record has, unless no record could be read."""
        if not self._missing or not self._seen:
            return
        name, option = next(iter(self._missing.items()))
        near = get_close_matches(name, self._seen, n=1)
        fields = ", ".join(map(repr, list(self._seen)[:20]))
        raise UsageError(
            f"{option} {name!r}: none of the first records has such a field",
            f"Did you mean {near[0]!r}?" if near else f"Their fields are: {fields}.",
        )


class FirstRecords:
    """Checks an input by its first records, before anything is sent.

    With `must_be_usable` they may not all be invalid for the same reason: then the input has another format, or a flag
    is missing.
    """

    def __init__(self, wanted: Mapping[str, str], *, must_be_usable: bool) -> None:
        self._wanted = WantedFields(wanted)
        self._must_be_usable = must_be_usable
        self._count = 0
        self._message: str | None = None
        """What is wrong with the first record."""
        self._reason: str | None = None
        """The same without the parts that differ from record to record."""

    def add(self, entries: Sequence[Entry], records: Sequence[Job | InvalidRecord]) -> None:
        """Look at records in the order of the input, until they are decided."""
        left = FIRST - self._count
        self._wanted.look_at(entries[:left])
        for entry, record in zip(entries[:left], records[:left], strict=True):
            self._count += 1
            if not isinstance(record, InvalidRecord):
                self._must_be_usable = False
            elif self._must_be_usable:
                self._compare(record.fault.message.removeprefix(entry.where))

    @property
    def is_decided(self) -> bool:
        """Whether further records would change nothing."""
        return self._count >= FIRST or (self._wanted.are_found and not self._must_be_usable)

    def conclude(self, *, ended: bool) -> None:
        """Raise UsageError for fields that no record has, InputError when all are invalid for the same reason.

        `ended` says that the input has no other records.
        """
        self._wanted.conclude()
        if self._must_be_usable and self._count >= (LEAST if ended else FIRST):
            which = f"none of the {self._count} records" if ended else f"none of the first {self._count} records"
            raise InputError(
                f"{which} can be sent, all for the same reason: {self._message}",
                "Nothing was sent. See --input-format, --delimiter and --template.",
            )

    def _compare(self, message: str) -> None:
        reason = _PARTICULARS.sub("…", re.sub(r"^ column \d+", "", message).strip(": ")).partition(": ")[0]
        if self._message is None:
            self._message, self._reason = message.strip(": "), reason
        elif reason != self._reason:
            self._must_be_usable = False
