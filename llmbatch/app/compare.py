"""`report --compare`: puts the answers of several results files side by side, by record."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
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
    sample: int | None
    texts: list[str | None]

    @property
    def name(self) -> str:
        """Name it for a person."""
        name = "a record without an id" if self.id is None else str(self.id)
        return name if self.sample is None else f"{name}, sample {self.sample}"

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        sample = {} if self.sample is None else {"sample": self.sample}
        return {"id": self.id, **sample, "answers": self.texts}


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
            "differing": [one.as_json() for one in self.differing],
        }


def compare(
    runs: Mapping[str, Sequence[str]],
    *,
    notice: Callable[[str], None],
    also: Callable[[str, dict[str, Any]], None] | None = None,
) -> Comparison:
    """Compare runs by the ids of their records, or by the records where there are no ids; `also` sees each line.

    `runs` are the results files of each by its name. Answers are compared as text, without space around them. Raises
    InputError, UsageError.
    """
    if len(runs) < 2 or "-" in runs:
        raise UsageError("--compare takes two or more files", "llmbatch report --compare a.jsonl b.jsonl")
    with ExitStack() as stack:
        found = Comparison([*runs])
        answers: dict[int, list[int | None]] = {}
        readers: list[Sequence[ResultsReader]] = []
        for place, (name, files) in enumerate(runs.items()):
            readers.append(stack.enter_context(open_results([results_of_table(file) for file in files])))
            book = StatsByModel()
            for file in readers[-1]:
                if file.torn:
                    notice(f"{file.name} ends in a piece of a line, which is not counted")
                for line in file.results():
                    book.add(line)
                    if also is not None:
                        also(name, line)
                    if line["status"] == "ok":
                        answers.setdefault(_name(line), [None] * len(runs))[place] = _fingerprint(line)
            found.stats.append(book.total())
            found.models.append([*book.named()])
        _count(found, answers)
        _show(found, readers, answers)
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


def _show(found: Comparison, runs: Sequence[Sequence[ResultsReader]], answers: dict[int, list[int | None]]) -> None:
    """Read the texts of the first records whose answers differ."""
    wanted = [name for name, of_record in answers.items() if len(set(of_record)) > 1][:SHOWN]
    shown = {name: Differing(None, None, [None] * len(runs)) for name in wanted}
    for place, files in enumerate(runs):
        for line in (line for file in files for line in file.results()) if shown else ():
            name = _name(line)
            if name in shown and line["status"] == "ok":
                texts = shown[name].texts
                shown[name] = Differing(line.get("id"), line.get("sample"), texts)
                text = answer_text(line)
                texts[place] = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    found.differing = list(shown.values())


def _name(line: dict[str, Any]) -> int:
    return name_of_line(line) & FINGERPRINT


def _fingerprint(line: dict[str, Any]) -> int:
    return int(digest(answer_text(line).strip().encode("utf-8", "surrogatepass")), 16) & FINGERPRINT
