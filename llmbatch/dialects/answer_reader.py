"""Reads answers, each in the dialect of its request, and checks them against what the user asked for. Pure.

Answers are read in the transport process, so that the run has another core to itself.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from llmbatch.core.exchange import Expected, ReadReply, Reply, Verdicts
from llmbatch.core.outcome import Completion
from llmbatch.dialects.answers import unparsable
from llmbatch.dialects.response_headers import rate_limits
from llmbatch.dialects.structured_output import AnswerChecks, checked

__all__ = ["AnswerReader"]


@cache
def _read(dialect: str) -> Callable[[Expected, Reply], Verdicts]:
    """Return the function that reads the answers of a dialect. Most runs import the modules of one dialect alone."""
    match dialect:
        case "chat":
            from llmbatch.dialects.openai_chat_answers import read
        case "messages":
            from llmbatch.dialects.anthropic import read
        case "gemini":
            from llmbatch.dialects.gemini import read
        case "responses":
            from llmbatch.dialects.openai_responses import read
        case "completions":
            from llmbatch.dialects.openai_completions import read
        case "embeddings":
            from llmbatch.dialects.openai_embeddings import read
        case _:
            from llmbatch.dialects.passthrough import read
    return read


SMALL = 1 << 16
"""Bytes of an answer that are read at once whatever they are."""
MOST_PARTS = 20_000
"""Lists, objects and lines in a larger one that is. What reading costs is mostly a matter of these."""


class AnswerReader(NamedTuple):
    """Reads answers. `checks` are conditions of the user that an answer must meet."""

    checks: AnswerChecks | None = None

    def read_reply(self, expected: Expected, reply: Reply) -> ReadReply:
        """Return the verdicts and the rate limits that the answer announces. Never raises for what a server sends."""
        return self.read(expected, reply), rate_limits(reply.headers)

    def is_quick(self, reply: Reply) -> bool:
        """Say whether an answer is read and checked in a moment; another one keeps everybody else waiting."""
        checks = self.checks
        return _is_soon_read(reply.body) and (checks is None or checks.check is None or checks.check.is_quick)

    def give_up(self, expected: Expected, reply: Reply, why: str) -> ReadReply:
        """Return the verdicts on an answer that could not be read and checked: it is paid for, so it is kept."""
        if _is_soon_read(reply.body):
            verdicts, checks = _read(expected.dialect)(expected, reply), self.checks
            if checks is not None:
                verdicts = tuple(
                    checked(checks, one, given_up=why) if isinstance(one, Completion) else one for one in verdicts
                )
        elif reply.status < 300:
            lost = unparsable(reply, f"the answer was not read: {why}")
            verdicts = (lost, *[replace(lost, raw=None)] * (len(expected.keeps) - 1))
        else:  # the status says enough
            verdicts = _read(expected.dialect)(expected, Reply(reply.status, reply.headers, b""))
        return verdicts, rate_limits(reply.headers)

    def read(self, expected: Expected, reply: Reply) -> Verdicts:
        """Return one verdict for each job of the request, in their order."""
        verdicts, checks = _read(expected.dialect)(expected, reply), self.checks
        if checks is None:
            return verdicts
        return tuple(checked(checks, one) if isinstance(one, Completion) else one for one in verdicts)


def _is_soon_read(body: bytes) -> bool:
    return len(body) <= SMALL or sum(map(body.count, (b"{", b"[", b"\n", b"\r"))) <= MOST_PARTS
