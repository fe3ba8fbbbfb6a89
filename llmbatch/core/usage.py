"""The token counts of an answer."""

from typing import NamedTuple

__all__ = ["Usage"]


class Usage(NamedTuple):
    """Tokens as providers count them; None where the provider said nothing.

    Totals include their parts: cached and cache-write tokens are inside `input_tokens`, reasoning inside
    `output_tokens`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
