"""What became of a record: a completion or a failure."""

import copyreg
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from llmbatch.core.fault import Fault
from llmbatch.core.job import Identity, Job
from llmbatch.core.usage import Usage

__all__ = ["AlreadyDone", "Completion", "CopiedAnswer", "InvalidRecord", "Outcome", "UnusableAnswer", "Usage"]


@dataclass(slots=True)
class Completion:
    """One record's share of a good answer. `extra` holds result fields that are only sometimes there."""

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
    """An answer that is still to be taken from the line of an equal request; whoever writes it fills it in.

    `how` is the field its line says so with: `deduplicated` or `reused`.
    """

    text: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    how: str = "deduplicated"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableAnswer(Fault):
    """A paid answer that is not what was asked for: a failure, and all of the answer."""

    completion: Completion


@dataclass(slots=True)
class Outcome:
    """The end of a job: one line in the results."""

    job: Job
    verdict: Completion | Fault


class AlreadyDone(Enum):
    """A record that needs no request: a results file has its line, or it is held in doubt."""

    OK = "ok"
    FAILED = "failed"
    HELD = "held"


@dataclass(slots=True)
class InvalidRecord:
    """A record that never became a job: not valid, or a repeated id. One failed line, nothing sent."""

    identity: Identity
    fault: Fault
    meta: dict[str, Any]
    input: Any = None
    key: ClassVar[None] = None
    """It asks for nothing."""


def _parts(one: Completion) -> tuple[Any, ...]:
    usage = tuple(one.usage) if one.usage is not None else None
    rest = (one.cost, one.request_id, one.extra, one.body)
    return _of_parts, (one.text, one.finish_reason, one.model, usage, *rest)


def _of_parts(text: str | None, finish: str | None, model: str | None, usage: Any, *rest: Any) -> Completion:
    return Completion(text, finish, model, Usage(*usage) if usage is not None else None, *rest)


# One comes from another process for every record: so it takes half the time.
copyreg.pickle(Completion, _parts)
