"""What became of a record: a completion or a failure."""

import copyreg
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from llmbatch.core.fault import Billing, Fault
from llmbatch.core.job import Identity, Job
from llmbatch.core.usage import Usage

__all__ = ["AlreadyDone", "Completion", "CopiedAnswer", "InvalidRecord", "Outcome", "UnusableAnswer", "Usage"]


@dataclass(slots=True)
class Completion:
    """One record's share of a good answer. `extra` holds optional fields of its result line."""

    text: str | None
    finish_reason: str | None
    model: str | None
    usage: Usage | None
    cost: float | None = None
    request_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    """The parsed answer, kept only for `--include response`."""


@dataclass(slots=True)
class CopiedAnswer(Completion):
    """An answer, or a paid failure, that the sink copies from the line of an equal request when it writes this one.

    `how` is the field of the line that says so: `deduplicated` or `reused`.
    """

    text: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    how: str = "deduplicated"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableAnswer(Fault):
    """A failure whose paid answer exists, but is not what was asked for. `completion` is that answer."""

    completion: Completion


@dataclass(slots=True)
class Outcome:
    """The end of a job: one line in the results. `copied` is the `how` of a verdict that was copied."""

    job: Job
    verdict: Completion | Fault
    copied: str | None = None

    @property
    def is_paid(self) -> bool:
        """Whether it has an answer, or a failure that was paid for."""
        return isinstance(self.verdict, Completion) or self.verdict.billing is Billing.BILLED


class AlreadyDone(Enum):
    """A record that needs no request: the results file has its line, it is held in doubt, or a batch has it."""

    OK = "ok"
    FAILED = "failed"
    HELD = "held"
    PENDING = "pending"
    """It is in a batch that an earlier run made."""


@dataclass(slots=True)
class InvalidRecord:
    """A record that cannot become a job: it is invalid, or repeats an id. It gets a failed line, nothing is sent."""

    identity: Identity
    fault: Fault
    meta: dict[str, Any]
    input: Any = None
    key: ClassVar[None] = None
    """It has no request."""
    former_key: ClassVar[None] = None


def _parts(one: Completion) -> tuple[Any, ...]:
    usage = tuple(one.usage) if one.usage is not None else None
    rest = (one.cost, one.request_id, one.extra, one.body)
    return _from_parts, (one.text, one.finish_reason, one.model, usage, *rest)


def _from_parts(text: str | None, finish: str | None, model: str | None, usage: Any, *rest: Any) -> Completion:
    return Completion(text, finish, model, Usage(*usage) if usage is not None else None, *rest)


# Every answer arrives pickled from the transport process, and plain parts unpickle faster than a dataclass.
copyreg.pickle(Completion, _parts)
