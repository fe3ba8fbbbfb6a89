"""What the workers of a driver call: progress, notices, loans of limits. Holds no connection and waits for nothing."""

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.snapshot import Snapshot
from llmbatch.pacing.lender import Ask, Grant, Lender

__all__ = ["Hub", "LenderHere", "Lends"]


class Lends(Protocol):
    """Lends limits."""

    @property
    def failure(self) -> LlmbatchError | None:
        """Why the limits cannot be had any more, which ends the run."""
        ...

    def lend(self, ask: Ask) -> Grant:
        """Lend slices of the limits."""
        ...

    def borrow(self, dollars: float) -> float:
        """Lend a part of the budget."""
        ...


class LenderHere:
    """A lender in this process."""

    failure: LlmbatchError | None = None

    def __init__(self, *, rpm: float | None, tpm: float | None, dollars: float) -> None:
        self._lender = Lender(monotonic(), rpm=rpm, tpm=tpm, dollars=dollars)

    def lend(self, ask: Ask) -> Grant:
        """Lend slices of the limits."""
        return self._lender.lend(ask, monotonic())

    def borrow(self, dollars: float) -> float:
        """Lend a part of the budget."""
        return self._lender.borrow(dollars)


class Hub:
    """The driver's side of `remote.Call`: each public method is called by its name."""

    def __init__(
        self,
        limits: Lends,
        show: Callable[[int, Snapshot], None],
        notice: Callable[[str], None],
        signals: list[int] | None = None,
    ) -> None:
        self._limits, self._show, self._notice = limits, show, notice
        self.signals = [] if signals is None else signals
        """The signals that the driver got: they are for all workers."""

    def report(self, number: int, now: Snapshot) -> list[int]:
        """Take the state of a part; return the signals for its worker, those that it had, too."""
        self._show(number, now)
        return self.signals

    def notice(self, text: str) -> None:
        """Tell a person."""
        self._notice(text)

    def lend(self, ask: Ask) -> Grant | LlmbatchError:
        """Lend slices of the limits; return why they cannot be had any more, if that is so."""
        return self._limits.failure or self._limits.lend(ask)

    def borrow(self, dollars: float) -> float:
        """Lend a part of the budget."""
        return self._limits.borrow(dollars)
