"""`--strict`: whole files are read before anything is sent."""

from collections.abc import Sequence
from contextlib import closing

from llmbatch.core.outcome import Refused
from llmbatch.input.decode import Decoder
from llmbatch.input.source import open_source

__all__ = ["check_strict"]

_ENOUGH = 10
_BATCH = 256


def check_strict(
    paths: Sequence[str], *, format: str | None, max_line: int, decoder: Decoder, limit: int | None = None
) -> list[str]:
    """Return the first problems of the inputs, at most ten; `limit` ends the search after so many records.

    The decoder must be one of its own: it remembers ids. Raises what opening, reading and decoding raise.
    """
    problems: list[str] = []
    index = 0
    with closing(open_source(paths, format=format, max_line=max_line)) as source:
        while entries := source.read(_BATCH):
            for entry in entries:
                if index == limit:
                    return problems
                decoded = decoder.decode(index, entry)
                index += 1
                if isinstance(decoded, Refused):
                    problems.append(decoded.fault.message)
                    if len(problems) == _ENOUGH:
                        return problems
    return problems
