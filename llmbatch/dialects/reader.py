"""Answers of all dialects, each read in that of its request and held against what is demanded. Pure.

A reader travels: answers are read in the process that receives them, so that the run has the other core to itself.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from llmbatch.core.exchange import Expected, Heard, Reply, Verdicts
from llmbatch.core.outcome import Completion
from llmbatch.dialects import chat, completions, embeddings, gemini, messages, passthrough, responses
from llmbatch.dialects.demands import Demands, held_against
from llmbatch.flow.announced import announced

__all__ = ["Reader"]

_READ: Mapping[str, Callable[[Expected, Reply], Verdicts]] = {
    chat.Chat.name: chat.read,
    completions.Completions.name: completions.read,
    embeddings.Embeddings.name: embeddings.read,
    gemini.Gemini.name: gemini.read,
    messages.Messages.name: messages.read,
    passthrough.Passthrough.name: passthrough.read,
    responses.Responses.name: responses.read,
}


class Reader(NamedTuple):
    """Reads answers. Without demands any good answer will do."""

    demands: Demands | None = None

    def hear(self, expected: Expected, reply: Reply) -> Heard:
        """Return all that an answer says. Never raises for what a server sends."""
        return self.read(expected, reply), announced(reply.headers)

    def read(self, expected: Expected, reply: Reply) -> Verdicts:
        """Return one verdict for each job of the request, in their order."""
        verdicts, demands = _READ[expected.dialect](expected, reply), self.demands
        if demands is None:
            return verdicts
        return tuple(held_against(demands, one) if isinstance(one, Completion) else one for one in verdicts)
