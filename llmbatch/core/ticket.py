"""A ticket: what we know of one batch at a provider, as a list of steps, each recorded on disk. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, NamedTuple

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route

__all__ = ["BatchError", "Member", "Proof", "Row", "Sighting", "Status", "Step", "Ticket", "custom_id", "line_of"]


class Step(StrEnum):
    """What happened to a ticket last."""

    DRAWN = "drawn"
    """Its records are chosen, its file is written."""
    UPLOADED = "uploaded"
    """The provider has the file; or it refused to make a batch of it, and no batch is there."""
    ASKED = "asked"
    """The batch is being created: whether it is there is not known until the next step."""
    RUNNING = "running"
    ENDED = "ended"
    FETCHED = "fetched"
    """The rows are on our disk."""
    SETTLED = "settled"
    """Every record has its line, or was given back."""
    VOID = "void"
    """There is no batch, and nothing was billed: its records were given back."""


class Proof(StrEnum):
    """How a batch is found again whose creation was cut off."""

    LISTED = "listed"
    """The list of batches names its input file, or our tag."""
    LATE = "late"
    """Only its rows tell, once it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One batch. `tag` is unguessable and stands in the id of each of its rows; times are seconds since 1970.

    `count` counts its records, `lines` its requests: fewer where inputs of embeddings share one. `nth` counts how often
    its creation was asked for, at `first_asked_at` first and at `asked_at` last; `skew` is the provider's clock less
    ours. `outputs` are what the provider calls the files with the rows. `more` are other batches
    of the same file, which nobody needs.
    """

    tag: str
    step: Step
    path: str = ""
    model: str = ""
    dialect: str = "chat"
    count: int = 0
    lines: int = 0
    """0 where each record has its own, as older logs have it."""
    bytes: int = 0
    tokens: int = 0
    sha256: str = ""
    provider: str = ""
    address: str = ""
    account: str = ""
    window: float = 86400.0
    drawn_at: float = 0.0
    file: str | None = None
    uploaded_at: float = 0.0
    skew: float = 0.0
    nth: int = 0
    asked_at: float = 0.0
    first_asked_at: float = 0.0
    batch: str | None = None
    created_at: float = 0.0
    cancelling: bool = False
    status: str | None = None
    completed: int | None = None
    ended_at: float = 0.0
    outputs: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    answered: bool = False
    """A creation was answered well, by what names no batch: it must not be asked for again."""
    unsure: int = 0
    """How many of the requests for it may have made a batch that nobody can find."""
    worst: float = 0.0
    """The most that it may cost, in US dollars, where that matters."""
    reason: str | None = None
    run: str = ""
    """Which run drew it."""

    @property
    def route(self) -> Route:
        """The route of its records."""
        return Route(self.path, self.model, self.dialect)

    @property
    def requests(self) -> int:
        """How many requests it has, which is what the provider counts."""
        return self.lines or self.count

    def records_in(self, requests: int) -> int:
        """Return about how many records there are in so many of its requests."""
        return requests if self.requests == self.count else requests * self.count // self.requests

    @property
    def is_open(self) -> bool:
        """Whether its records may be with the provider, or their rows with us."""
        return self.step in (Step.ASKED, Step.RUNNING, Step.ENDED, Step.FETCHED)

    @property
    def is_drawn_only(self) -> bool:
        """Whether nothing of it can have been billed."""
        return self.step in (Step.DRAWN, Step.UPLOADED)

    def after(self, entry: Mapping[str, Any]) -> "Ticket":
        """Return the ticket after one more entry of its log. Raises ValueError for one that is none."""
        known = {name: value for name, value in entry.items() if name in _FIELDS}
        for name in ("outputs", "more"):
            if name in known:
                known[name] = tuple(known[name])
        return replace(self, **{**known, "step": Step(entry["step"])})


_FIELDS = {field.name for field in fields(Ticket)} - {"tag", "step"}


@dataclass(slots=True)
class Member:
    """A record in a ticket: the number of its line, and its place among the records there, None if it is alone.

    `entries` and `weight` are those of `Expected`.
    """

    job: Job
    entries: int = 1
    weight: int = 0
    line: int = -1
    place: int | None = None


def custom_id(tag: str, line: int) -> str:
    """Return the id of a row: it fits every provider's limits, tells nothing of the record, and cannot be guessed."""
    return f"{tag}-{line}"


def line_of(tag: str, count: int, id: Any) -> int | None:
    """Return which line of a batch a row's id names; None when the row is of no line of it.

    Blanks around it and capitals do not matter: the tag cannot be guessed.
    """
    if not isinstance(id, str):
        return None
    id = id.strip().lower()
    if not id.startswith(tag + "-"):
        return None
    number = id[len(tag) + 1 :]
    if not (number.isascii() and number.isdecimal()) or len(number) > 9 or str(int(number)) != number:
        return None
    return int(number) if int(number) < count else None


class BatchError(NamedTuple):
    """Why a batch failed as a whole; `line` is the first line (from 1) that the provider objects to."""

    code: str
    message: str
    line: int | None = None


class Status(NamedTuple):
    """What a provider says of a batch. Its rows decide, not this: counts are for people."""

    word: str
    """The provider's own."""
    ended: bool
    failed: bool = False
    """Nothing of it ran."""
    total: int | None = None
    completed: int | None = None
    outputs: tuple[str, ...] = ()
    errors: tuple[BatchError, ...] = ()


class Sighting(NamedTuple):
    """A batch in the provider's list. `ours` is None while nobody can tell."""

    batch: str
    created_at: float
    ours: bool | None
    ended: bool = False


class Row(NamedTuple):
    """One row of a batch: the reply that its request would have had live, or why it has none."""

    id: Any
    reply: Reply | None = None
    fault: Fault | None = None
    given_back: bool = False
    """It did not run, and costs nothing."""
