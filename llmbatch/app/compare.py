"""`report --compare`: puts the answers of several results files side by side, by record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmbatch.app.table_names import results_of_table
from llmbatch.codec.digest import FINGERPRINT, digest
from llmbatch.core.errors import UsageError
from llmbatch.results.highlights import answer_text
from llmbatch.results.lines import name_of_line
from llmbatch.results.reader import ResultsReader, open_results
from llmbatch.results.stats import Stats, StatsByModel

__all__ = ["Comparison", "Differing", "compare"]

SHOWN = 50
"""Records with different answers that are shown."""
LONGEST = 500
"""Characters of an answer that are shown."""


@dataclass(frozen=True, slots=True)
class Differing:
    """One record whose answers differ: a text for each file, None where it has no answer."""

    id: Any
    texts: list[str | None]


@dataclass(slots=True)
class Comparison:
    """Several files. `common` records have an answer in all of them, and in `agreeing` the answers are the same text.

    `agreement[a][b]` is the share of the records answered in both files a and b with the same answer; None without any.
    """

    names: list[str]
    stats: list[Stats] = field(default_factory=list)
    models: list[list[str]] = field(default_factory=list)
    """The models of each file, the busiest first."""
    common: int = 0
    agreeing: int = 0
    agreement: list[list[float | None]] = field(default_factory=list)
    differing: list[Differing] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        files = [
            {"file": name, "models": models, **stats.as_json()}
            for name, models, stats in zip(self.names, self.models, self.stats, strict=True)
        ]
        return {
            "files": files,
            "common": self.common,
            "agreeing": self.agreeing,
            "agreement": self.agreement,
            "differing": [{"id": one.id, "answers": one.texts} for one in self.differing],
        }


def compare(
    names: Sequence[str],
    *,
    notice: Callable[[str], None],
    also: Callable[[str, dict[str, Any]], None] | None = None,
) -> Comparison:
    """Compare files by the ids of their records, or by the records where there are no ids; `also` sees each line.

    Answers are compared as text, without space around them. Raises InputError, UsageError.
    """
    if len(names) < 2 or "-" in names:
        raise UsageError("--compare takes two or more files", "llmbatch report --compare a.jsonl b.jsonl")
    with open_results([results_of_table(name) for name in names]) as files:
        found = Comparison([file.name for file in files])
        answers: dict[int, list[int | None]] = {}
        for place, file in enumerate(files):
            if file.torn:
                notice(f"{file.name} ends in a piece of a line, which is not counted")
            book = StatsByModel()
            for line in file.results():
                book.add(line)
                if also is not None:
                    also(file.name, line)
                if line["status"] == "ok":
                    answers.setdefault(_name(line), [None] * len(files))[place] = _fingerprint(line)
            found.stats.append(book.total())
            found.models.append([*book.named()])
        _count(found, answers)
        _show(found, files, answers)
    return found


def _count(found: Comparison, answers: dict[int, list[int | None]]) -> None:
    several = range(len(found.names))
    both = [[0] * len(several) for _ in several]
    same = [[0] * len(several) for _ in several]
    for of_record in answers.values():
        if None not in of_record:
            found.common += 1
            found.agreeing += len(set(of_record)) == 1
        for a in several:
            for b in several:
                if of_record[a] is not None and of_record[b] is not None:
                    both[a][b] += 1
                    same[a][b] += of_record[a] == of_record[b]
    found.agreement = [[same[a][b] / both[a][b] if both[a][b] else None for b in several] for a in several]


def _show(found: Comparison, files: Sequence[ResultsReader], answers: dict[int, list[int | None]]) -> None:
    """Read the texts of the first records whose answers differ."""
    wanted = [name for name, of_record in answers.items() if len(set(of_record)) > 1][:SHOWN]
    shown = {name: Differing(None, [None] * len(files)) for name in wanted}
    for place, file in enumerate(files):
        for line in file.results() if shown else ():
            name = _name(line)
            if name in shown and line["status"] == "ok":
                texts = shown[name].texts
                shown[name] = Differing(line.get("id"), texts)
                text = answer_text(line)
                texts[place] = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    found.differing = list(shown.values())


def _name(line: dict[str, Any]) -> int:
    return name_of_line(line) & FINGERPRINT


def _fingerprint(line: dict[str, Any]) -> int:
    return int(digest(answer_text(line).strip().encode("utf-8", "surrogatepass")), 16) & FINGERPRINT
