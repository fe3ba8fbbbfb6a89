"""Compares answers with what records say is right: counts, a confusion table, by model or by file."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import sqrt
from typing import Any

from llmbatch.codec import json
from llmbatch.core.counts import MOST_NAMES, OTHER
from llmbatch.core.errors import UsageError

__all__ = ["Expectation", "Score"]

MOST_LABELS = 50
"""Values that are counted separately in a confusion table."""
LONGEST = 80
"""Characters of a value that is shown."""
_LOOKED_AT = 1000
"""So many lines are looked at for the names of fields."""
_DEEPEST = 4
_Z = 1.959964
"""Standard deviations within which 95 % of a normal distribution lie."""

NO_ANSWER = "(no answer)"


@dataclass(slots=True)
class Score:
    """The records of one group for which it is known what is right."""

    right: int = 0
    wrong: int = 0
    unanswered: int = 0
    """Failures, and answers without the field."""
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often which value was answered where which was expected: (expected, answered)."""
    samples: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Of each record that was sent several times: how many of its samples are right, and how many there are."""

    @property
    def records(self) -> int:
        """Count the records."""
        return self.right + self.wrong + self.unanswered

    @property
    def accuracy(self) -> float | None:
        """Return the share of right answers, of all records: one without an answer is not right. None without any."""
        return self.right / self.records if self.records else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % confidence interval of the accuracy, by Wilson; None without any record.

        Samples of one record are alike, so they count as the effective number of independent records.
        """
        share, count = self.accuracy, float(self.records)
        if share is None:
            return None
        if self.samples:
            count = self._effective_records(share)
        center = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
        half = _Z / (1 + _Z**2 / count) * sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
        return max(0.0, center - half), min(1.0, center + half)

    def _effective_records(self, share: float) -> float:
        """Return how many independent records would tell as much as these samples do, by their variance."""
        spread = sum((right - share * count) ** 2 for right, count in self.samples.values()) / self.records**2
        if not 0 < share < 1 or not spread:
            return float(len(self.samples))
        return min(float(self.records), max(1.0, share * (1 - share) / spread))

    def count_sample(self, record: int, *, is_right: bool) -> None:
        """Note one of several samples of a record."""
        right, count = self.samples.get(record, (0, 0))
        self.samples[record] = right + is_right, count + 1

    def include(self, other: "Score") -> None:
        """Add the counts of another object to this one, which is of another model or file."""
        self.right += other.right
        self.wrong += other.wrong
        self.unanswered += other.unanswered
        self.confusion.update(other.confusion)
        for record, (right, count) in other.samples.items():
            before = self.samples.get(record, (0, 0))
            self.samples[record] = before[0] + right, before[1] + count

    def labels(self) -> list[str]:
        """Return the values that were expected or answered, in order; what stands for others or for none at the end."""
        found = {label for pair in self.confusion for label in pair}
        return sorted(found, key=lambda label: (label in (OTHER, NO_ANSWER), label == NO_ANSWER, label))

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        table: dict[str, dict[str, int]] = {}
        for (expected, answered), count in sorted(self.confusion.items()):
            table.setdefault(expected, {})[answered] = count
        return {
            "records": self.records,
            "right": self.right,
            "wrong": self.wrong,
            "unanswered": self.unanswered,
            "accuracy": round(self.accuracy, 6) if self.accuracy is not None else None,
            "interval": [round(end, 6) for end in self.interval] if self.interval is not None else None,
            "confusion": table,
        }


class Expectation:
    """Compares two fields of each line: what was answered, and what is right. Nothing in a line is trusted.

    `asked` is ANSWER=EXPECTED, with dots between the names of fields that lie within others. Raises UsageError.
    """

    def __init__(self, asked: str) -> None:
        answer, equals, expected = asked.partition("=")
        self.answer, self.expected = answer.strip(), expected.strip()
        if not equals or not self.answer or not self.expected:
            raise UsageError(f"--expect {asked!r} is not FIELD=FIELD", "Example: --expect json.label=meta.gold")
        self.groups: dict[str, Score] = {}
        self.as_values = 0
        """Texts that were compared as the JSON that they hold, since the other value is none."""
        self._labels: set[str] = set()
        self._seen: set[str] = set()
        """The names of the fields of the first lines."""
        self._lines = self._answered = self._with_answer = self._with_expected = 0

    def add(self, line: Mapping[str, Any], group: str) -> None:
        """Compare the fields of one result line."""
        self._lines += 1
        if self._lines <= _LOOKED_AT:
            self._seen.update(_names(line))
        has_expected, expected = _value(line, self.expected)
        is_ok = line.get("status") == "ok"
        has_answer, answer = _value(line, self.answer) if is_ok else (False, None)
        self._answered += is_ok
        self._with_answer += has_answer
        self._with_expected += has_expected
        if not has_expected:
            return
        if group not in self.groups and len(self.groups) >= MOST_NAMES:
            group = OTHER
        score = self.groups.setdefault(group, Score())
        is_right = self._count(score, expected, answer if has_answer else None)
        if "sample" in line:
            score.count_sample(_record(line), is_right=is_right)

    def _count(self, score: Score, expected: Any, answer: Any) -> bool:
        """Count an answer, None for none; return whether it is right."""
        if answer is None:
            score.unanswered += 1
            score.confusion[self._label(expected), NO_ANSWER] += 1
            return False
        answer, expected = self._alike(answer, expected)
        is_right = _is_equal(answer, expected)
        score.right += is_right
        score.wrong += not is_right
        score.confusion[self._label(expected), self._label(expected if is_right else answer)] += 1
        return is_right

    def conclude(self) -> list[str]:
        """Return what there is to say, once all lines were added. Raises UsageError for fields that no line has."""
        if self._lines and not self._with_expected:
            raise self._unknown(self.expected)
        if self._answered and not self._with_answer:
            raise self._unknown(self.answer)
        said = []
        if self._with_expected < self._lines:
            without = self._lines - self._with_expected
            said.append(f"{without:,} of {self._lines:,} lines have no {self.expected}, and are not counted")
        if self.as_values:
            said.append(
                f"{self.as_values:,} texts were compared as the JSON that they hold, since {self.answer} and "
                f"{self.expected} are of different types"
            )
        return said

    def total(self) -> Score:
        """Return the score of all records."""
        total = Score()
        for score in self.groups.values():
            total.include(score)
        return total

    def as_json(self) -> dict[str, Any]:
        """Return all scores as plain values."""
        return {
            "answer": self.answer,
            "expected": self.expected,
            "compared_as_json": self.as_values,
            **self.total().as_json(),
            "groups": {name: score.as_json() for name, score in self.groups.items()},
        }

    def _alike(self, answer: Any, expected: Any) -> tuple[Any, Any]:
        """Return both values so that they can be compared: a text beside a value of another type as its JSON."""
        if isinstance(answer, str) == isinstance(expected, str):
            return answer, expected
        self.as_values += 1
        return _parsed(answer), _parsed(expected)

    def _label(self, value: Any) -> str:
        text = value.strip() if isinstance(value, str) else json.dumps(value).decode()
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        if text not in self._labels and len(self._labels) >= MOST_LABELS:
            return OTHER
        self._labels.add(text)
        return text

    def _unknown(self, name: str) -> UsageError:
        near = get_close_matches(name, self._seen, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(self._seen)[:20])}."
        return UsageError(f"--expect: no line has a field {name}", hint)


def _record(line: Mapping[str, Any]) -> int:
    """Return a number for the record of a line, the same for all its samples."""
    name = line.get("id")
    return hash((repr(name if name is not None else line.get("record")), repr(line.get("occurrence"))))


def _value(line: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Return whether there is a field at a path, and its value; null is none. A name may have dots in it."""
    if path in line:
        return line[path] is not None, line[path]
    for at in (place for place, letter in enumerate(path) if letter == "."):
        inner = line.get(path[:at])
        if isinstance(inner, dict):
            found = _value(inner, path[at + 1 :])
            if found[0]:
                return found
    return False, None


def _names(fields: Mapping[str, Any], depth: int = 1) -> Iterator[str]:
    for name, value in fields.items():
        yield name
        if isinstance(value, dict) and depth < _DEEPEST:
            yield from (f"{name}.{inner}" for inner in _names(value, depth + 1))


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value.encode("utf-8", "surrogatepass"))
    except ValueError:
        return value


def _is_equal(one: Any, other: Any) -> bool:
    """Compare two values as JSON: 1 is 1.0 and not true, texts are compared without space around them."""
    if isinstance(one, str) and isinstance(other, str):
        return one.strip() == other.strip()
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_equal(one[name], other[name]) for name in one)
    return bool(one == other)
