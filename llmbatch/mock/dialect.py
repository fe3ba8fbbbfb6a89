"""What the provider asks of a dialect: to read a request body, to answer it, to stream the answer. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmbatch.mock.error_formats import OPENAI, ErrorFormat
from llmbatch.mock.fault_markers import Fault

__all__ = ["Dialect", "MalformedRequest", "MockRequest", "Turn"]


class MalformedRequest(ValueError):
    """A request body the API would refuse; `param` is the field to blame."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class MockRequest:
    """A request body that was read. `weight`, prompt and room for an answer, counts against the limit."""

    body: dict[str, Any]
    model: str
    prompt: str
    prompt_tokens: int
    weight: int
    stream: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """What one answer is made from. Equal `seed` and request give equal words.

    `serial` numbers the answer, `created` dates it. `text` replaces the words when a fault wants other ones.
    """

    asked: MockRequest
    seed: str
    serial: int
    created: int
    fault: Fault | None
    text: str | None


class Dialect(NamedTuple):
    """One API: `read` raises Malformed; `stream` cuts the answer into server-sent events, if it can be streamed.

    `headers` are those of the request that become fields of the body that is read.
    """

    read: Callable[[dict[str, Any]], MockRequest]
    answer: Callable[[Turn], dict[str, Any]]
    stream: Callable[[dict[str, Any], Turn], list[bytes]] | None
    manner: ErrorFormat = OPENAI
    headers: tuple[str, ...] = ()
