"""Reads answers, each in the dialect of its request, and checks them against what the user asked for. Pure.

Answers are read in the transport process, so that the run has another core to itself.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from llmbatch.core.exchange import Expected, ReadReply, Reply, Verdicts
from llmbatch.core.outcome import Completion
from llmbatch.dialects import (
    anthropic,
    gemini,
    openai_chat,
    openai_chat_answers,
    openai_completions,
    openai_embeddings,
    openai_responses,
    passthrough,
)
from llmbatch.dialects.response_headers import rate_limits
from llmbatch.dialects.structured_output import AnswerChecks, checked

__all__ = ["AnswerReader"]

_READ: Mapping[str, Callable[[Expected, Reply], Verdicts]] = {
    openai_chat.Chat.name: openai_chat_answers.read,
    openai_completions.Completions.name: openai_completions.read,
    openai_embeddings.Embeddings.name: openai_embeddings.read,
    gemini.Gemini.name: gemini.read,
    anthropic.Anthropic.name: anthropic.read,
    passthrough.Passthrough.name: passthrough.read,
    openai_responses.Responses.name: openai_responses.read,
}


class AnswerReader(NamedTuple):
    """Reads answers. `checks` are conditions of the user that an answer must meet."""

    checks: AnswerChecks | None = None

    def read_reply(self, expected: Expected, reply: Reply) -> ReadReply:
        """Return the verdicts and the rate limits that the answer announces. Never raises for what a server sends."""
        return self.read(expected, reply), rate_limits(reply.headers)

    def read(self, expected: Expected, reply: Reply) -> Verdicts:
        """Return one verdict for each job of the request, in their order."""
        verdicts, checks = _READ[expected.dialect](expected, reply), self.checks
        if checks is None:
            return verdicts
        return tuple(checked(checks, one) if isinstance(one, Completion) else one for one in verdicts)
