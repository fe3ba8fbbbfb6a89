"""What is said at the end of a run beside its numbers: why it stopped, what is saved, and what to do next."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from llmbatch.core.errors import ExitCode
from llmbatch.core.fault import Kind
from llmbatch.core.plural import counted
from llmbatch.core.tally import Summary

__all__ = ["Closing", "closings_of"]


_OF_THE_INPUT = frozenset({Kind.INVALID_RECORD, Kind.DUPLICATE_ID})
"""Failures that the same input always has."""
_PAID_FOR = frozenset({Kind.UNPARSABLE, Kind.FINISH_REASON, Kind.NOT_JSON, Kind.SCHEMA})
"""Failures that were paid for, which only `--redo` sends again."""


class Closing(NamedTuple):
    """One such word. A command is never broken into lines: it is there to be copied."""

    label: str
    text: str
    has_command: bool = False


def closings_of(
    summary: Summary, output: Path | None, same_command: str, *, stdout_is_file: bool = False
) -> Iterator[Closing]:
    """Yield what there is to say; `output` is the results file, `same_command` what continues the run."""
    path = shlex.quote(str(output))
    stopped = summary.stopped is not None and summary.exit_code not in (ExitCode.READER_GONE, ExitCode.PENDING)
    if stopped:
        yield Closing("stopped", summary.stopped or "")
        if output is not None:
            yield Closing("saved", _saved(summary, output))
        continues = output is not None and not summary.pending
        if summary.hint:
            hint = _begun_small(summary.hint)
            yield Closing("next", _leading_to_a_command(hint) if continues else hint, has_command=True)
        if continues:
            yield Closing("" if summary.hint else "next", same_command, has_command=True)
    if summary.pending:
        if not (stopped and summary.hint):
            yield Closing("next", "the same command collects them; what runs at the provider is billed")
        yield Closing("look", f"llmbatch batches {path} --check", has_command=True)
        yield Closing("cancel", f"llmbatch batches {path} --cancel", has_command=True)
    if output is None and stdout_is_file and (stopped or summary.failed):
        yield Closing("tip", "with -o FILE instead of > FILE the same command continues a run")
    if output is None or summary.pending or stopped:
        return
    if summary.held:
        yield Closing(
            "held", f"{counted(summary.held, 'record')} may have been billed without an answer; not sent again"
        )
        yield Closing("next", "llmbatch verify INPUT -o FILE lists them, --in-doubt retry sends them again")
    elif summary.failed or summary.failed_before:
        yield Closing("next", _next_step(summary))
        yield Closing("look", f"llmbatch report {path}", has_command=True)


def _next_step(summary: Summary) -> str:
    kinds = summary.failed.keys()
    kept = sorted(kinds & (_OF_THE_INPUT | _PAID_FOR))
    if kinds - set(kept):
        return "the same command sends what failed again" + (f", but not {' and '.join(kept)}" if kept else "")
    if not kinds:
        return "the same command keeps these failures; it sends records that you correct, and all with --redo all"
    if kinds <= _OF_THE_INPUT:
        return "correct these records in the input; the same command sends only them"
    return "the same command sends none of these again; --redo all does, paid for or not"


def _begun_small(hint: str) -> str:
    """Begin a sentence as the other lines of the summary begin; names and abbreviations stay as they are."""
    return hint[:1].lower() + hint[1:] if hint[1:2].islower() or hint[1:2] == " " else hint


def _leading_to_a_command(hint: str) -> str:
    """End a hint so that the command which continues the run can stand below it."""
    return f"{hint.removesuffix('.')}:" if "same command" in hint else f"{hint} Then:"


def _saved(summary: Summary, output: Path) -> str:
    parts = [counted(summary.ok + summary.done_before, "answer")]
    failed = sum(summary.failed.values()) + summary.failed_before
    doubt = summary.held + summary.dropped
    parts += [counted(failed, "failure")] if failed else []
    return f"{' and '.join(parts)} in {output}" + (f"; {doubt:,} in doubt" if doubt else "")
