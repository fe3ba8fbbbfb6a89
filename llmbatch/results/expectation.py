"""Compares answers with what records say is right: counts, a confusion table, by model or by file."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
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

    @property
    def records(self) -> int:
        """Count the records."""
        return self.right + self.wrong + self.unanswered

    @property
    def accuracy(self) -> float | None:
        """Return the share of right answers, of all records: one without an answer is not right. None without any."""
        return self.right / self.records if self.records else None

    def include(self, other: "Score") -> None:
        """Add the counts of another object to this one."""
        self.right += other.right
        self.wrong += other.wrong
        self.unanswered += other.unanswered
        self.confusion.update(other.confusion)

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
        if not has_answer:
            score.unanswered += 1
            score.confusion[self._label(expected), NO_ANSWER] += 1
            return
        answer, expected = self._alike(answer, expected)
        if _is_equal(answer, expected):
            score.right += 1
            score.confusion[self._label(expected), self._label(expected)] += 1
        else:
            score.wrong += 1
            score.confusion[self._label(expected), self._label(answer)] += 1

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
