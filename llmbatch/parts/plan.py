"""The plan of a run of parts: which piece of which input lies in which part, fixed once. Pure.

It is the file `run.json` of the folder. Inputs are compared by name, size and date, options by their values: a part
must be the same records with the same requests, whichever worker has it and whenever it does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from os.path import basename
from typing import Any, NamedTuple

from llmbatch.codec import json
from llmbatch.core.errors import UsageError
from llmbatch.core.version import __version__
from llmbatch.input.address import shown

__all__ = ["InputFile", "Part", "Piece", "Plan", "changed_inputs"]

VERSION = 1
SHOWN = 5
"""So many inputs that differ are named."""


class InputFile(NamedTuple):
    """One input as it was when the plan was made. `tag` is the etag of a remote one, which has no `modified` time."""

    path: str
    size: int
    modified: int | None = None
    """Nanoseconds since 1970."""
    tag: str | None = None

    def difference(self, now: "InputFile") -> str | None:
        """Say how the same input differs now, None if it does not."""
        name, before = shown(now.path), shown(self.path)
        if basename(before) != basename(name):
            return f"{name} instead of {before}"
        if self.size != now.size:
            return f"{name}: {self.size:,} bytes before, {now.size:,} now"
        if None not in (self.tag, now.tag) and self.tag != now.tag:
            return f"{name}: version {self.tag} before, {now.tag} now"
        return f"{name} was written again" if self[2:] != now[2:] else None


class Piece(NamedTuple):
    """What one part has of one input: all of it, or from `start` to before `end`, in bytes or, of Parquet, row groups.

    An `end` of None is that of the file.
    """

    input: int
    start: int = 0
    end: int | None = None

    @property
    def span(self) -> tuple[int, int | None] | None:
        """Return the place in the file, None for all of it."""
        return None if self.start == 0 and self.end is None else (self.start, self.end)


class Part(NamedTuple):
    """One part: its pieces in the order of the input, and about how many records they have."""

    pieces: tuple[Piece, ...]
    records: int


class Plan(NamedTuple):
    """All parts of a run. `digest` names the plan in the results files of its parts."""

    inputs: tuple[InputFile, ...]
    parts: tuple[Part, ...]
    options: Mapping[str, Any]
    digest: str

    @classmethod
    def of(cls, inputs: Sequence[InputFile], parts: Sequence[Part], options: Mapping[str, Any]) -> "Plan":
        """Return the plan with its digest."""
        fields = _fields(inputs, parts, options)
        return cls(tuple(inputs), tuple(parts), fields["options"], _digest(fields))

    @classmethod
    def read(cls, text: bytes, name: str) -> "Plan":
        """Read a plan. Raises UsageError for one that is cut, was edited, or is of a newer version."""
        try:
            fields = json.loads(text)
            version = fields["version"]
            if isinstance(version, int) and version > VERSION:
                raise UsageError(
                    f"{name} was written by llmbatch {fields.get('llmbatch')}, which is newer than this one",
                    "Use that version for this folder.",
                )
            inputs = [InputFile(*map(one.get, InputFile._fields)) for one in fields["inputs"]]
            parts = [Part(tuple(Piece(*piece) for piece in pieces), records) for records, *pieces in fields["parts"]]
            plan = cls.of(inputs, parts, fields["options"])
        except UsageError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            raise _unusable(name, "it is cut, or not a plan") from None
        if fields.get("digest") != plan.digest:
            raise _unusable(name, "it was edited after it was written")
        return plan

    def write(self) -> bytes:
        """Return the plan as the text of its file."""
        fields = _fields(self.inputs, self.parts, self.options)
        return json.dumps({"version": VERSION, "llmbatch": __version__, "digest": self.digest, **fields}) + b"\n"

    @property
    def records(self) -> int:
        """About how many records there are."""
        return sum(part.records for part in self.parts)

    def name_of(self, number: int) -> str:
        """Return what the results file of a part notes about its part."""
        return f"{number} of plan {self.digest}"


def changed_inputs(before: Sequence[InputFile], now: Sequence[InputFile]) -> str | None:
    """Say how the inputs differ from those of a plan, None if they do not."""
    differences = list(_differences(before, now))
    if not differences:
        return None
    more = len(differences) - SHOWN
    return "; ".join(differences[:SHOWN]) + (f"; and {more:,} more" if more > 0 else "")


def _differences(before: Sequence[InputFile], now: Sequence[InputFile]) -> Iterator[str]:
    names_before, names_now = _names(before), _names(now)
    if names_before == names_now:
        yield from filter(None, (one.difference(other) for one, other in zip(before, now, strict=True)))
        return
    yield from (f"{name} is new" for name in names_now if name not in set(names_before))
    yield from (f"{name} is gone" for name in names_before if name not in set(names_now))
    if set(names_before) == set(names_now):
        yield "the inputs are in another order"


def _names(inputs: Iterable[InputFile]) -> list[str]:
    return [basename(shown(one.path)) for one in inputs]


def _fields(inputs: Sequence[InputFile], parts: Sequence[Part], options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "options": json.loads(json.dumps(dict(options))),
        "inputs": [_written(one) for one in inputs],
        "parts": [[part.records, *map(list, part.pieces)] for part in parts],
    }


def _written(input: InputFile) -> dict[str, Any]:
    fields = input._asdict() | {"path": shown(input.path)}
    return {name: value for name, value in fields.items() if value is not None}


def _digest(fields: Mapping[str, Any]) -> str:
    return blake2b(json.canonical(fields), digest_size=8).hexdigest()


def _unusable(name: str, why: str) -> UsageError:
    return UsageError(
        f"{name} is not a plan that can be followed: {why}",
        "Put the file back from a copy, or choose another -o DIR/: a new plan would number other records.",
    )
