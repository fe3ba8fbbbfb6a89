"""`verify`: compares input records with results and finds missing, orphaned, repeated and broken lines."""

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from llmbatch.app.first_records import FIRST, WantedFields
from llmbatch.app.table_names import results_of_table
from llmbatch.core.errors import LlmbatchError
from llmbatch.core.job import Identity
from llmbatch.core.outcome import InvalidRecord
from llmbatch.input.byte_stream import Span
from llmbatch.input.decode import Decoder
from llmbatch.input.occurrences import Occurrences
from llmbatch.input.sampling import derived
from llmbatch.input.source import open_source
from llmbatch.results.lines import Line, sample_of
from llmbatch.results.reader import ReadOnlyResults, ResultsReader, open_results

__all__ = ["Finding", "Problem", "Reconciliation", "verify"]

_BATCH = 256

_LINES = 34
"""Bits that number a line; the number of its file is in the bits above."""


class Problem(StrEnum):
    """What can be wrong; the values are the names in the output."""

    MISSING = "missing"
    """A record without a result."""
    PENDING = "pending"
    """A record that is in a batch at a provider: its result is still to come."""
    ORPHAN = "orphan"
    """A result without a record."""
    REPEATED = "repeated"
    """One more result of a record that has one."""
    BROKEN = "broken"
    """A line that is not a result."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where."""

    problem: Problem
    place: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {"problem": str(self.problem), **self.place}


@dataclass(slots=True, kw_only=True)
class Reconciliation:
    """The account: `records` = `ok` + `failed` + the missing and the pending ones.

    And `lines` = `ok` + `failed` + those of the other kinds, where orphans are looked for.
    """

    records: int = 0
    lines: int = 0
    ok: int = 0
    failed: int = 0
    problems: Counter[Problem] = field(default_factory=Counter)
    in_doubt: int = 0
    """Records of which a request left and no outcome is known, whether or not they have an older line."""
    doubts_unknown: list[str] = field(default_factory=list)
    """Why it is not known of some records whether a request left."""
    edited: int = 0
    """Records that have changed since they were answered: the same id, other fields."""
    torn: list[str] = field(default_factory=list)
    """Files that end in an incomplete line."""
    orphans_known: bool = True
    """False when only the first records of the input were read."""

    @property
    def complete(self) -> bool:
        """Whether each record has exactly one result, and nothing else is there."""
        return not self.problems.total()

    def include(self, other: "Reconciliation") -> None:
        """Add the account of another input with its results to this one."""
        for name in ("records", "lines", "ok", "failed", "in_doubt", "edited"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems.update(other.problems)
        self.doubts_unknown += other.doubts_unknown
        self.torn += other.torn
        self.orphans_known = self.orphans_known and other.orphans_known

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        counts = {str(problem): self.problems[problem] for problem in Problem}
        if not self.orphans_known:
            del counts[Problem.ORPHAN]
        return {
            "complete": self.complete,
            "records": self.records,
            "lines": self.lines,
            "ok": self.ok,
            "failed": self.failed,
            **counts,
            "in_doubt": self.in_doubt if not self.doubts_unknown else None,
            "edited": self.edited,
            "torn": self.torn,
        }


def verify(
    inputs: Sequence[str],
    results: Sequence[str],
    *,
    input_format: str | None,
    id_field: str | None,
    limit: int | None,
    max_line: int,
    delimiter: str | None = None,
    spans: Sequence[Span | None] = (),
    repeat: int | None = None,
    sample: int | None = None,
    sample_seed: int = 0,
    found: Callable[[Finding], None],
) -> Reconciliation:
    """Reconcile records and results; call `found` with each finding at once.

    Each record has `repeat` samples, or as many as the last run says or the lines show. With `sample` only the records
    that a run with this sample takes are looked for. Needs no model and no template: a record is identified by its id,
    or by the digest of its fields before templates. Raises InputError, UsageError.
    """
    opened = open_source(inputs, format=input_format, max_line=max_line, delimiter=delimiter, spans=spans)
    with (
        closing(derived(opened, sample=sample, seed=sample_seed, repeat=None)) as source,
        open_results([results_of_table(name) for name in results]) as files,
    ):
        check = _Check(files, found)
        repeat = max(check.samples, repeat or 0, *(file.repeat for file in files), 0)
        decoder = _identifier(id_field, repeat)
        wanted = WantedFields({id_field: "--id-field"} if id_field not in (None, "none") and not spans else {})
        read = 0
        while limit is None or read < limit:
            entries = source.read(_BATCH if limit is None else min(_BATCH, limit - read))
            if read < FIRST:
                wanted.look_at(entries[: FIRST - read])
            if not entries or read + len(entries) >= FIRST > read:
                wanted.conclude()
            if not entries:
                break
            read += len(entries)
            for entry in entries:
                for _ in range(repeat or 1):
                    decoded = decoder.decode(check.account.records, entry)
                    check.record(decoded.identity, entry.where, invalid=isinstance(decoded, InvalidRecord))
        return check.conclude(orphans=limit is None and sample is None)


class _Check:
    """The lines of all files by identity, and the records found so far."""

    def __init__(self, files: Sequence[ResultsReader], found: Callable[[Finding], None]) -> None:
        self.account = Reconciliation()
        self.samples = 0
        """How many times each record was sent, by the numbers of the samples; 0 where lines have none."""
        self._files = files
        self._found = found
        self._first = array("Q")
        """Where the first line of each record is: the number of the line, and in the bits above that of its file."""
        self._records = array("Q")
        """The digest of each line's record, cut to 64 bits."""
        for file in files:
            if file.torn:
                self.account.torn.append(file.name)
            if file.damage is not None:
                self.account.doubts_unknown.append(file.damage)
        self._by_record = ReadOnlyResults(files, self._line)
        self.account.in_doubt = self._by_record.in_doubt

    def record(self, identity: Identity, where: str, *, invalid: bool) -> None:
        """Look for the result of a record of the input."""
        account, by_record = self.account, self._by_record
        account.records += 1
        match = by_record.match_record(identity)
        if match is None:
            more: dict[str, Any] = {"index": identity.position, "where": where}
            if by_record.is_in_doubt(identity):
                more["in_doubt"] = True
            if invalid:
                more["unusable"] = True
            self._tell(
                Problem.PENDING if by_record.is_pending(identity) else Problem.MISSING,
                _named(identity.id, identity.record, identity.occurrence, identity.sample) | more,
            )
            return
        place, is_ok = match
        if is_ok:
            account.ok += 1
        else:
            account.failed += 1
        account.edited += self._records[place] != _digest(identity.record)

    def conclude(self, *, orphans: bool) -> Reconciliation:
        """Look for lines whose record was not found, and close the account."""
        account = self.account
        account.orphans_known = orphans
        if orphans and self._by_record.orphans():
            for number, file in enumerate(self._files):
                for line in file.lines():
                    self._orphan(number, line)
        missing = account.problems[Problem.MISSING] + account.problems[Problem.PENDING]
        lines = account.problems.total() + account.ok + account.failed
        if account.records != account.ok + account.failed + missing or (orphans and account.lines != lines - missing):
            raise LlmbatchError(f"the account does not add up, which is a bug: {account.as_json()}")
        return account

    def _line(self, number: int, line: Line, earlier: int | None) -> None:
        self.account.lines += 1
        fields = line.fields
        if fields is not None and "sample" in fields:
            self.samples = max(self.samples, sample_of(fields) + 1)
        if fields is None:
            self._tell(Problem.BROKEN, self._at(number, line))
        elif earlier is None:
            self._first.append(number << _LINES | line.number)
            self._records.append(_digest(fields["record"]))
        else:
            first = self._first[earlier]
            file, at = self._files[first >> _LINES], first & (1 << _LINES) - 1
            self._tell(
                Problem.REPEATED,
                _name(fields) | self._at(number, line) | {"first_file": file.name, "first_line": at or None},
            )

    def _orphan(self, number: int, line: Line) -> None:
        fields = line.fields
        # Another line of the same orphan counts as repeated.
        if fields is not None and self._by_record.match_line(fields):
            self._tell(Problem.ORPHAN, _name(fields) | {"index": fields["index"]} | self._at(number, line))

    def _at(self, number: int, line: Line) -> dict[str, Any]:
        """Say where a line is; without a number it is in the redo file."""
        return {"file": self._files[number].name, "line": line.number or None}

    def _tell(self, problem: Problem, place: dict[str, Any]) -> None:
        self.account.problems[problem] += 1
        self._found(Finding(problem, place))


def _identifier(id_field: str | None, repeat: int) -> Decoder:
    """Return the decoder of a run that has no template and sends nothing."""
    return Decoder(
        params=frozenset(),
        id_field=id_field,
        meta="none",
        meta_fields=frozenset(),
        template=None,
        system=None,
        form=None,
        seen=Occurrences(),
        notice=lambda text: None,
        repeat=repeat,
    )


def _name(fields: dict[str, Any]) -> dict[str, Any]:
    return _named(fields.get("id"), fields["record"], fields.get("occurrence", 0), sample_of(fields))


def _named(id: str | int | None, record: str, occurrence: int, sample: int) -> dict[str, Any]:
    name: dict[str, Any] = {"id": id}
    if id is None:
        name["record"] = record
    if occurrence:
        name["occurrence"] = occurrence
    if sample:
        name["sample"] = sample
    return name


def _digest(record: str) -> int:
    """Return 64 bits of a digest, 0 for text that is not one."""
    try:
        return int(record[:16], 16) & 0xFFFF_FFFF_FFFF_FFFF
    except ValueError:
        return 0
