"""How the records of an input and the lines of results files fit together."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "Problem", "Reconciliation"]


class Problem(StrEnum):
    """What can be wrong: each by the name that it has in the output."""

    MISSING = "missing"
    """A record without a result."""
    ORPHAN = "orphan"
    """A result without a record."""
    REPEATED = "repeated"
    """One more result of a record that has one."""
    BROKEN = "broken"
    """A line that is not a result."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; `place` and `id` are for people and for programs."""

    problem: Problem
    place: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {"problem": str(self.problem), **self.place}


@dataclass(slots=True, kw_only=True)
class Reconciliation:
    """The account: `records` = `ok` + `failed` + the missing ones.

    And `lines` = `ok` + `failed` + those of the other kinds, where orphans are looked for.
    """

    records: int = 0
    lines: int = 0
    ok: int = 0
    failed: int = 0
    problems: Counter[Problem] = field(default_factory=Counter)
    in_doubt: int = 0
    """Records of which a request left and no outcome is known, whether or not an older line stands for them."""
    edited: int = 0
    """Records that read differently from when they were answered: the same id, other fields."""
    torn: list[str] = field(default_factory=list)
    """Files that end in a piece of a line."""
    orphans_known: bool = True
    """Not when only the first records of the input were looked at."""

    @property
    def complete(self) -> bool:
        """Whether each record has exactly one result, and nothing else is there."""
        return not self.problems.total()

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
            "in_doubt": self.in_doubt,
            "edited": self.edited,
            "torn": self.torn,
        }
