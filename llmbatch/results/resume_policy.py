"""Decides what to do with a record of the input when a results file is continued. Pure."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from llmbatch.core.fault import NOT_CHECKED, Kind
from llmbatch.core.job import Identity
from llmbatch.core.settings import Redo, ResumeSettings
from llmbatch.results.doubts import Doubts
from llmbatch.results.index import LineFlags, kind_of

__all__ = ["KEPT", "Action", "Before", "Decision", "ResumePolicy", "decide", "in_doubt", "is_answered"]


class Action(Enum):
    """What to do with a record of the input."""

    SEND = "send"
    KEEP_OK = "keep the answer"
    KEEP_FAILED = "keep the failure"
    HOLD = "hold"
    CHANGED = "changed options"
    PENDING = "in a batch"


class Before(NamedTuple):
    """What earlier runs left of a record.

    `traits` is None without a line, `key` that of the line. `doubts` counts attempts of unknown outcome that may belong
    to the same request.
    """

    traits: int | None
    key: int
    doubts: int


class Decision(NamedTuple):
    """The action. `redo` says that a new answer replaces a line, `edited` that the record has changed.

    `in_doubt` says that an earlier attempt at this request may have been billed without an answer.
    """

    action: Action
    redo: bool = False
    edited: bool = False
    in_doubt: bool = False
    attempts: int = 0


KEPT = Decision(Action.KEEP_OK)


class ResumePolicy(NamedTuple):
    """The flags about resuming. `changed` is rerun, keep or None: stop."""

    redo: Redo = Redo()
    hold: bool = False
    changed: str | None = None
    dedupe: bool = False
    """One answer, or one doubt, counts for all records with the same key."""
    keep_edited: bool = False
    """Whether the user keeps the old answers of many records that were edited."""

    json_retries: int = 0
    """How often a paid answer that does not fit is asked for again, over all runs."""

    @classmethod
    def of(cls, resume: ResumeSettings, changed: str | None, json_retries: int = 0) -> "ResumePolicy":
        """Return the policy of a run; `changed` is from its flag or from an earlier run."""
        hold = resume.in_doubt == "hold"
        return cls(redo=resume.redo, hold=hold, changed=changed, dedupe=resume.dedupe, json_retries=json_retries)

    def is_named(self, id: str | int | None) -> bool:
        """Say whether `--redo @IDS` names a record: then it is sent even if it was answered."""
        return self.redo.ids is not None and id in self.redo.ids

    def redoes(self, id: str | int | None, traits: int, *, same: bool) -> bool:
        """Say whether a record whose line is a failure is sent again; `same` if its request is still the same.

        A record that was never sent, because it was invalid, is always sent again.
        """
        if traits & LineFlags.INVALID:
            return True
        if self.redo.ids is not None:
            return id in self.redo.ids
        if self.redo.kinds:
            return kind_of(traits) in self.redo.kinds
        if self.redo.failures == "unbilled":
            return not (same and traits & LineFlags.BILLED)
        return self.redo.failures == "all"

    def goes_on(self, traits: int, line: Callable[[], Mapping[str, Any]]) -> int:
        """Return the attempts behind a paid answer that does not fit; 0 if no other one may be asked for."""
        unfit = traits & LineFlags.BILLED and kind_of(traits) in (Kind.NOT_JSON, Kind.SCHEMA)
        if not unfit or not self.json_retries or self.redo != Redo():
            return 0
        attempts = _attempts(line())
        return attempts if 0 < attempts <= self.json_retries else 0


def in_doubt(doubts: Doubts, name: int, key: int, policy: ResumePolicy) -> int:
    """Count the attempts in doubt that may belong to a request; under dedupe, to any request with its key."""
    return doubts.attempts(name, key) or (policy.dedupe and key in doubts.keys)


def is_answered(traits: int, line_key: int, key: int) -> bool:
    """Say whether a line is the answer to this request: then nothing else matters, unless `--redo` names the id."""
    return line_key == key and traits & LineFlags.OK != 0


def decide(
    identity: Identity, key: int, before: Before, line: Callable[[], Mapping[str, Any]], policy: ResumePolicy
) -> Decision:
    """Decide about a record that can be sent. `line` returns the fields of its line, for a few cases only."""
    redo = before.traits is not None
    named = redo and policy.is_named(identity.id)
    if before.traits is not None and is_answered(before.traits, before.key, key) and not named:
        return KEPT
    if before.doubts and policy.hold:
        return Decision(Action.HOLD, redo, in_doubt=True)
    doubtful = before.doubts > 0
    if before.traits is None:
        return Decision(Action.SEND, in_doubt=doubtful)
    same = before.key == key
    if before.traits & LineFlags.OK:
        if named:
            return Decision(Action.SEND, redo=True)
        if line().get("record") != identity.record:
            action = Action.KEEP_OK if policy.keep_edited else Action.SEND
            return Decision(action, redo=True, edited=True, in_doubt=doubtful)
        if policy.changed is None:
            return Decision(Action.CHANGED)
        return Decision(Action.KEEP_OK) if policy.changed == "keep" else Decision(Action.SEND, redo=True)
    attempts = policy.goes_on(before.traits, line) if same else 0
    if not attempts and not policy.redoes(identity.id, before.traits, same=same):
        return Decision(Action.KEEP_FAILED)
    doubtful = doubtful or bool(same and before.traits & LineFlags.DOUBTS)
    action = Action.HOLD if doubtful and policy.hold else Action.SEND
    return Decision(action, redo=True, in_doubt=doubtful, attempts=attempts)


def _attempts(line: Mapping[str, Any]) -> int:
    """Return the attempts that led to an answer for which another one may be asked; 0 if none may."""
    attempts, error = line.get("attempts"), line.get("error")
    asked = isinstance(error, dict) and error.get("code") != NOT_CHECKED and not line.get("deduplicated")
    return attempts if asked and isinstance(attempts, int) else 0
