"""The interface of a dialect of the mock: read a request body, answer it, stream the answer. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmbatch.mock.error_formats import OPENAI, ErrorFormat
from llmbatch.mock.fault_markers import Fault

__all__ = ["Dialect", "MalformedRequest", "MockRequest", "Turn", "content_of", "text_of"]


class MalformedRequest(ValueError):
    """A request body that the API would reject; `param` is the invalid field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class MockRequest:
    """A request body that was read. `weight` counts against the limit: prompt and room for an answer."""

    body: dict[str, Any]
    model: str
    prompt: str
    prompt_tokens: int
    weight: int
    stream: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """The parts of one answer. Equal seeds and requests give equal text.

    `serial` numbers the answer, `created` dates it. `text` replaces the generated text if a fault asks for it.
    """

    asked: MockRequest
    seed: str
    serial: int
    created: int
    fault: Fault | None
    text: str | None


def content_of(message: Any, where: str) -> str | list[dict[str, Any]]:
    """Return the content of a message of OpenAI's APIs: a text, or parts. Raises MalformedRequest."""
    if not isinstance(message, dict):
        raise MalformedRequest(f"Invalid type for '{where}': expected an object.", where)
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise MalformedRequest(
            f"Invalid type for '{where}.content': expected one of a string or array of objects.", where
        )
    return content


def text_of(content: str | list[dict[str, Any]]) -> str:
    """Return a text, or the joined texts of parts."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if isinstance(part.get("text"), str))


class Dialect(NamedTuple):
    """One API: `read` raises MalformedRequest; `stream` cuts the answer into server-sent events, if it can be streamed.

    `headers` are request headers that `read` gets as fields of the body.
    """

    read: Callable[[dict[str, Any]], MockRequest]
    answer: Callable[[Turn], dict[str, Any]]
    stream: Callable[[dict[str, Any], Turn], list[bytes]] | None
    error_format: ErrorFormat = OPENAI
    headers: tuple[str, ...] = ()
