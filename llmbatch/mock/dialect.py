"""The interface of a dialect: read a request body, answer it, stream the answer. Pure."""

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
    """What one answer is made from. Equal seeds and requests give equal text.

    `serial` numbers the answer, `created` dates it. `text` replaces the generated text where a fault asks for it.
    """

    asked: MockRequest
    seed: str
    serial: int
    created: int
    fault: Fault | None
    text: str | None


class Dialect(NamedTuple):
    """One API: `read` raises MalformedRequest; `stream` cuts the answer into server-sent events, if it can be streamed.

    `headers` are request headers that `read` gets as fields of the body.
    """

    read: Callable[[dict[str, Any]], MockRequest]
    answer: Callable[[Turn], dict[str, Any]]
    stream: Callable[[dict[str, Any], Turn], list[bytes]] | None
    error_format: ErrorFormat = OPENAI
    headers: tuple[str, ...] = ()
