"""The interface of one API's batches: its calls, how a line is read, how a row is written. Pure."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from llmbatch.mock.batch import Batch
from llmbatch.mock.batch_rows import Answer, Line
from llmbatch.mock.error_formats import OPENAI, ErrorFormat
from llmbatch.mock.reply import Reply

__all__ = ["BatchFamily", "Route", "WrittenRow"]


class Route(NamedTuple):
    """A call of an API: `handle` gets the provider, the call and the named groups of the pattern."""

    method: str
    pattern: str
    """Of the whole path, below the root of the API."""
    handle: Callable[..., Awaitable[Reply]]
    error_format: ErrorFormat = OPENAI


class WrittenRow(NamedTuple):
    """A row as the results have it: in the file with answers (0) or in that with errors (1)."""

    file: int
    value: dict[str, Any]


class BatchFamily(NamedTuple):
    """What the batches of one API have of their own.

    `line` reads a line of the input and raises BadLine for one that refuses the whole batch. `row` writes what became
    of it: an answer, or the reason why it did not run, `expired` or `cancelled`. `files` names the two results.
    """

    name: str
    line: Callable[[bytes, Batch], Line]
    row: Callable[[str, Answer | str], WrittenRow]
    files: Callable[[Batch], tuple[str, str]]
    files_of: str | None = None
    """The family whose files its batches have, another one than its own."""
    results: str = "batch_output"
    """The purpose of the results files."""
    most_lines: int = 50_000
    one_model: bool = False
    refuses_lines: bool = True
    """Whether a line of which a prompt says that it is invalid refuses the whole batch, not just its row."""
    refuses_bodies: bool = False
    """Whether a body that the live call would refuse with 400 refuses the whole batch."""
    no_results_if_expired: bool = False
    """Whether a batch that expires has no results at all."""
    prefix: str = "file-"
    """How the ids of the results begin."""
    too_many_tokens: str = "Enqueued token limit reached for {model}. Limit: {limit:,} enqueued tokens."
