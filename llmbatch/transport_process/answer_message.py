"""The message that carries an answer: plain values where it has one completion, since objects take longer to pickle."""

from typing import Any, TypeAlias

from llmbatch.core.exchange import ReadReply
from llmbatch.core.fault import Fault
from llmbatch.core.outcome import Completion
from llmbatch.core.usage import Usage

__all__ = ["AnswerMessage", "answer_in", "message_of"]

AnswerMessage: TypeAlias = tuple[Any, ...]
"""The lane and what it got: as it is, or field by field."""


def message_of(lane: int, answer: ReadReply | Fault) -> AnswerMessage:
    """Return the message for what a lane got."""
    if type(answer) is tuple and len(answer[0]) == 1 and type(one := answer[0][0]) is Completion:
        usage = None if one.usage is None else tuple(one.usage)
        rest = one.cost, one.request_id, one.extra, one.body
        return lane, one.text, one.finish_reason, one.model, usage, rest, answer[1]
    return lane, answer


def answer_in(message: AnswerMessage) -> ReadReply | Fault:
    """Return the answer that a message carries."""
    if len(message) == 2:
        answer: ReadReply | Fault = message[1]
        return answer
    _, text, finish, model, usage, rest, limits = message
    return (Completion(text, finish, model, None if usage is None else Usage(*usage), *rest),), limits
