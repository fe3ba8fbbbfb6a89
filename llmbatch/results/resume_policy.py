"""What happens to a record of a file that is continued. Pure."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from llmbatch.core.job import Identity
from llmbatch.results.index import LineFlags

__all__ = ["KEPT", "Action", "Before", "Decision", "ResumePolicy", "decide", "is_answered"]


class Action(Enum):
    """What to do with a record of the input."""

    SEND = "send"
    KEEP_OK = "keep the answer"
    KEEP_FAILED = "keep the failure"
    HOLD = "hold"
    CHANGED = "changed options"


class Before(NamedTuple):
    """What earlier runs left of a record.

    `traits` is None without a line. `doubts` counts attempts of unknown outcome, of the request `doubtful_key`, 0 when
    that is not known either. `record` is that of the line, asked for only when needed.
    """

    traits: int | None
    key: int
    doubts: int
    doubtful_key: int


class Decision(NamedTuple):
    """The action; `redo` when there is a line that a new answer replaces; `edited` when the record changed."""

    action: Action
    redo: bool = False
    edited: bool = False


KEPT = Decision(Action.KEEP_OK)


class ResumePolicy(NamedTuple):
    """The flags that speak of resuming. `changed` is rerun, keep or None: stop."""

    keep_failed: bool = False
    retry_billed: bool = False
    hold: bool = False
    changed: str | None = None
    keep_edited: bool = False
    """Set when a mass edit is answered with keep."""


def is_answered(traits: int, line_key: int, key: int) -> bool:
    """Say whether a line is an answer to this very request: then nothing else matters."""
    return line_key == key and traits & LineFlags.OK != 0


def decide(
    identity: Identity, key: int, before: Before, line_record: Callable[[], str], policy: ResumePolicy
) -> Decision:
    """Decide about a record that can be sent. `line_record` returns the `record` digest of its line."""
    redo = before.traits is not None
    if before.traits is not None and is_answered(before.traits, before.key, key):
        return KEPT
    if before.doubts and policy.hold and before.doubtful_key in (0, key):
        return Decision(Action.HOLD, redo)
    if before.traits is None:
        return Decision(Action.SEND)
    same = before.key == key
    if before.traits & LineFlags.OK:
        if line_record() != identity.record:
            return Decision(Action.KEEP_OK if policy.keep_edited else Action.SEND, redo=True, edited=True)
        if policy.changed is None:
            return Decision(Action.CHANGED)
        return Decision(Action.KEEP_OK) if policy.changed == "keep" else Decision(Action.SEND, redo=True)
    if policy.keep_failed and not before.traits & LineFlags.INVALID:
        return Decision(Action.KEEP_FAILED)
    if same and before.traits & LineFlags.BILLED and not policy.retry_billed:
        return Decision(Action.KEEP_FAILED)
    if same and before.traits & LineFlags.DOUBTS and policy.hold:
        return Decision(Action.HOLD, redo)
    return Decision(Action.SEND, redo=True)
