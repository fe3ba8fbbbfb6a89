"""Puts results back in the order of the input, within a bounded window. Pure."""

from collections.abc import Sequence

from llmbatch.core.outcome import InvalidRecord, Outcome

__all__ = ["Reorder"]


class Reorder:
    """Keeps outcomes until all before them are there. Indices start at 0 and have no gaps but those skipped."""

    def __init__(self) -> None:
        self._waiting: dict[int, Outcome | InvalidRecord] = {}
        self._skipped: set[int] = set()
        self._next = 0

    def push(self, outcomes: Sequence[Outcome | InvalidRecord]) -> list[Outcome | InvalidRecord]:
        """Take outcomes in any order; return those that may leave now, in order."""
        for outcome in outcomes:
            self._waiting[input_index(outcome)] = outcome
        ready = []
        while True:
            if self._next in self._waiting:
                ready.append(self._waiting.pop(self._next))
            elif self._next in self._skipped:
                self._skipped.remove(self._next)
            else:
                return ready
            self._next += 1

    def skip(self, index: int) -> None:
        """Do not wait for this one: it will have no outcome."""
        self._skipped.add(index)

    def rest(self) -> list[Outcome | InvalidRecord]:
        """Return what still waits, in order: a run that stopped early leaves gaps."""
        left = [self._waiting[index] for index in sorted(self._waiting)]
        self._waiting.clear()
        return left

    @property
    def next_index(self) -> int:
        """The index that is waited for."""
        return self._next


def input_index(outcome: Outcome | InvalidRecord) -> int:
    """Return the index of the record in the input."""
    return (outcome.job.identity if isinstance(outcome, Outcome) else outcome.identity).index
