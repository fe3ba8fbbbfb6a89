"""The prompt of one record, before a dialect turns it into the body of a request."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Prompt", "RecordError"]


@dataclass(slots=True)
class Prompt:
    """One question: a `text`, or `messages`, or an API-shaped `input`, or a ready `body`.

    `params` are body fields of the record itself; None removes a field. `path` is set when the record names its own
    endpoint (an OpenAI Batch line).
    """

    text: str | None = None
    messages: list[Any] | None = None
    input: Any = None
    body: dict[str, Any] | None = None
    path: str | None = None
    system: str | None = None
    model: str | None = None
    params: dict[str, Any] = field(default_factory=dict)


class RecordError(ValueError):
    """One record cannot be asked. It becomes a failed line.

    `hint` is set when the settings are as likely wrong as the record; on the very first record it stops the run.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
