"""Failures by kind, each kind with one record and its message: what a person looks at first."""

from collections.abc import Callable, Mapping

from llmbatch.core.plural import counted
from llmbatch.core.printable import printable
from llmbatch.core.tally import FailureExample
from llmbatch.ui.layout import crop
from llmbatch.ui.symbols import Symbols

__all__ = ["failure_lines"]

KINDS = 12
"""Kinds of failure that are told apart."""
READABLE = 36
"""Cells of a message that still says something; with fewer beside its kind it stands below."""


def failure_lines(
    failed: Mapping[str, int],
    examples: Mapping[str, FailureExample],
    symbols: Symbols,
    width: int,
    redact: Callable[[str], str] = str,
) -> list[str]:
    """Write a line for each kind of failure, the most frequent first, with the first record that failed so."""
    kinds = sorted(failed.items(), key=lambda item: (-item[1], item[0]))
    counts, names = [f"{count:,}" for _, count in kinds[:KINDS]], [printable(kind, 20) for kind, _ in kinds[:KINDS]]
    wide, long = max(map(len, counts)), max(map(len, names))
    lines = []
    for (kind, _), count, name in zip(kinds, counts, names, strict=False):
        head = f"{count:>{wide}} {name:<{long}}"
        example = examples.get(kind)
        room = width - len(head) - 2
        if example is None or room - len(_which(example)) - len(symbols.dot) < READABLE:
            lines.append(crop(head.rstrip(), width, symbols.ellipsis))
            if example is not None:
                indent = " " * (wide + 1)
                lines.append(indent + _example(example, symbols, redact, width - len(indent)))
        else:
            lines.append(f"{head}  {_example(example, symbols, redact, room)}")
    if len(kinds) > KINDS:
        lines.append(f"and {counted(len(kinds) - KINDS, 'other kind')}")
    return lines


def _example(example: FailureExample, symbols: Symbols, redact: Callable[[str], str], width: int) -> str:
    """Write which record it was and what it was told; the message is what gets shorter."""
    which = _which(example)
    status = f"HTTP {example.status}: " if example.status else ""
    room = width - len(which) - len(symbols.dot)
    if room < 12:
        return crop(which, width, symbols.ellipsis)
    message = crop(printable(redact(f"{status}{example.message}"), 500), room, symbols.ellipsis)
    return f"{which}{symbols.dot}{message}"


def _which(example: FailureExample) -> str:
    return f"id {printable(str(example.id), 24)}" if example.id is not None else f"record {example.index:,}"
