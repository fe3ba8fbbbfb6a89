"""What failures taught: how many records a batch of a route may have, and when the queue of a model has room."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llmbatch.batches.failures import hopeless, is_full, limit_in
from llmbatch.core.errors import CeilingReached
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Route
from llmbatch.core.ticket import BatchError, Ticket

__all__ = ["SHARE", "BatchSizes", "Blame"]

SHARE = 0.9
"""The part of a known limit of queued tokens that one batch takes at most."""
_ROUNDS = 3
"""Batches of a route that may end one after the other without an answer."""
_BAD_LINES = 20
"""Batches of a route that may fail by one line each, before they are cut in half."""
_FULL_FOR_ONE = 6
"""Refusals in a row for want of room after which a record that is alone in its batch is given up."""
_ANY_SIZE = 1_000_000
_LONGEST_WAIT = 1800.0

Blame = tuple[int, Fault]
"""The line, from 0, that made a whole batch fail, and what its record gets."""


@dataclass(slots=True)
class _Lessons:
    """What is known of one route."""

    most: float = math.inf
    failed: int = 0
    """The size of the last batch that failed for no better reason."""
    bad_lines: int = 0
    empty_rounds: int = 0
    full_at: float = -math.inf
    fulls: int = 0

    def halve(self, ticket: Ticket) -> None:
        """Make the next batches smaller than one that failed."""
        self.failed = ticket.count
        self.most = max(1, ticket.count // 2)

    def grow(self) -> None:
        """Allow larger batches: soon almost as large as the one that failed, from there on slowly."""
        larger = self.most * 2
        if larger >= self.failed:
            larger = self.most + max(1, self.most // 8)
        self.most = larger if larger < _ANY_SIZE else math.inf


class BatchSizes:
    """Learns from the ends of batches. `limits` are the tokens that may be queued for each model, kept by `learn`.

    `fixed` is the limit that the user set. `learn` blocks, and raises OSError.
    """

    def __init__(self, fixed: float | None, limits: Mapping[str, int], learn: Callable[[str, int], None]) -> None:
        self._fixed = fixed
        self._limits = limits
        self._learn = learn
        self._routes: dict[Route, _Lessons] = {}

    def token_limit(self, model: str) -> float | None:
        """Return how many tokens may be queued for a model, None where that is not known."""
        known = [limit for limit in (self._fixed, self._limits.get(model)) if limit]
        return min(known) if known else None

    def most(self, route: Route) -> float:
        """Return how many records a batch of a route may have."""
        return self._of(route).most

    def wait_for_room(self, ticket: Ticket, running: Sequence[Ticket], now: float, first: float) -> float:
        """Return for how many seconds a ticket waits for room in the queue of its model; `first` is the shortest wait.

        `running` are the other tickets of its model that the provider may have.
        """
        limit, lessons = self.token_limit(ticket.model), self._of(ticket.route)
        if limit is not None and running and sum(one.tokens for one in running) + ticket.tokens > limit:
            return first
        if lessons.fulls and not running:
            wait = min(_LONGEST_WAIT, first * 2.0 ** min(lessons.fulls - 1, 12))
            return max(0.0, lessons.full_at + wait - now)
        return first if lessons.fulls and lessons.full_at > now - first else 0.0

    def blame(
        self,
        ticket: Ticket,
        errors: Sequence[BatchError],
        *,
        full: bool,
        alone: bool,
        now: float,
        refusal: Fault | None = None,
    ) -> Blame | None:
        """Learn from a batch of which nothing ran; return which record is to blame, None when all may go again.

        `refusal` is that of the call, where one was refused. `alone` says that no other batch of ours is in the queue
        of its model. Blocks; raises OSError.
        """
        error = errors[0] if errors else BatchError("", "the batch failed, and nobody says why")
        lessons = self._of(ticket.route)
        if full or is_full(errors):
            return self._full(ticket, errors, error, alone=alone, now=now)
        fault = refusal or Fault(kind=Kind.BAD_REQUEST, message=error.message, code=error.code or None)
        if hopeless(errors, ticket) is not None:
            return None
        if error.line is not None and 1 <= error.line <= ticket.requests and lessons.bad_lines < _BAD_LINES:
            lessons.bad_lines += 1
            return error.line - 1, fault
        if ticket.count == 1:
            return 0, fault
        lessons.halve(ticket)
        return None

    def _full(
        self, ticket: Ticket, errors: Sequence[BatchError], error: BatchError, *, alone: bool, now: float
    ) -> Blame | None:
        lessons = self._of(ticket.route)
        lessons.full_at = now
        lessons.fulls += 1
        said = next((limit for one in errors if (limit := limit_in(one.message)) is not None), None)
        if said is not None and said != self._limits.get(ticket.model):
            self._learn(ticket.model, said)
        known = self.token_limit(ticket.model)
        fits = known is None or ticket.tokens <= known
        if ticket.count == 1:
            if fits and not (alone and lessons.fulls >= _FULL_FOR_ONE):
                return None
            return 0, Fault(kind=Kind.TOO_LARGE, message=error.message, code=error.code or None)
        if alone and (known is None or ticket.tokens <= known * SHARE):
            lessons.halve(ticket)  # no limit makes it smaller by itself
        return None

    def ran(self, route: Route, *, answers: int, gave_back: bool) -> None:
        """Note that a batch of a route ended, with so many answers: from here on larger ones are tried again."""
        lessons = self._of(route)
        lessons.empty_rounds = lessons.empty_rounds + 1 if gave_back and not answers else 0
        lessons.fulls = lessons.bad_lines = 0
        lessons.grow()

    def check_rounds(self, route: Route) -> None:
        """Raise CeilingReached for a route whose batches end one after the other without an answer."""
        rounds = self._of(route).empty_rounds
        if rounds >= _ROUNDS:
            raise CeilingReached(
                f"{rounds} batches of model {route.model!r} ended one after the other without an answer",
                "Run the same command again later, or with --leftovers live.",
            )

    def _of(self, route: Route) -> _Lessons:
        return self._routes.setdefault(route, _Lessons())
