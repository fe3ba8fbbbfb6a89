"""`--dry-run`: writes the requests as they would be sent, and estimates their cost. Nothing leaves the machine."""

import os
import select
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from llmbatch.app.input import InputReader, new_dialect, new_reader
from llmbatch.app.prices import bound, find_price
from llmbatch.app.servers import find_preset
from llmbatch.codec import json
from llmbatch.core.errors import ExitCode, OutputError, ReaderGone
from llmbatch.core.exchange import Request
from llmbatch.core.job import Job
from llmbatch.core.outcome import InvalidRecord
from llmbatch.core.plural import counted
from llmbatch.core.printable import escape_line, printable
from llmbatch.core.settings import InputSettings, ModelSettings, OutputSettings, ResumeSettings, StopSettings
from llmbatch.pacing.cost import Price, estimate
from llmbatch.results.reader import open_results
from llmbatch.results.resume_policy import Action, Decision, ResumePolicy

__all__ = ["Decide", "dry_run", "open_decisions"]


def dry_run(
    input: InputSettings,
    model: ModelSettings,
    stop: StopSettings,
    output: OutputSettings,
    resume: ResumeSettings,
    environment: Mapping[str, str],
    *,
    pack: int | None,
    verbose: bool,
    say: Callable[[str], None],
    stdout: int = 1,
    stdout_is_terminal: bool = False,
) -> int:
    """Write the requests as JSONL to a descriptor; return the exit code. Raises what reading raises.

    `pack` is how many records a request has, None for as many as is usual. `verbose` tells of each invalid record.
    """
    name, preset = find_preset(model, environment)
    base_url = next(iter(model.base_urls), preset.base_url).rstrip("/")
    counts: Counter[str] = Counter()
    tokens = 0
    bill = Bill(find_price(model, stop, (name, preset)))
    dialect = new_dialect(model, preset, pack)
    new_reader(model)  # checks the schema
    path = output.path

    def notice(text: str) -> None:
        say(f"llmbatch: {printable(text)}")

    with (
        open_decisions(None if output.overwrite else path, resume, model.json_retries, say) as decide_about,
        closing(InputReader(input, model, notice, durable=path is not None)) as reading,
    ):
        is_new = path is None or output.overwrite or not path.exists() or not path.stat().st_size
        jobs = reading.jobs(dialect, bound=bound(stop, bill.price), must_be_usable=is_new)
        while batch := jobs.records(input.batch_size):
            lines = []
            for job in batch:
                decision = decide_about(job)
                if decision.action is Action.CHANGED:  # shown as sent again: it helps to decide about that
                    counts["changed"] += 1
                    decision = Decision(Action.SEND, redo=True)
                if decision.action is not Action.SEND:
                    counts[decision.action.value] += 1
                elif isinstance(job, Job):
                    counts["requests"] += 1
                    counts["sent again"] += decision.redo
                    counts["in doubt"] += decision.in_doubt
                    tokens += job.tokens
                    bill.add(job)
                    lines.append(_line(job, dialect.request((job,)), base_url))
                else:
                    counts["failed"] += 1
                    if verbose:
                        say(f"llmbatch: {printable(job.fault.message)}")
            _write(stdout, b"".join(lines), escape=stdout_is_terminal)
    say(f"llmbatch: dry run, nothing sent: {_plan(counts, name)}, about {counted(tokens, 'token')} in{bill}")
    if changed := counts["changed"]:
        say(
            f"llmbatch: {counted(changed, 'answer was', 'answers were')} made with other options: the run itself stops "
            "and asks for --changed rerun, which sends them again, or --changed keep"
        )
    return ExitCode.OK


class Bill:
    """An estimate of what requests would cost; empty as soon as the price of one is unknown."""

    def __init__(self, price: Price | None) -> None:
        self.price = price
        self._least = self._most = 0.0
        self._known = price is not None
        self._capped = True

    def add(self, job: Job) -> None:
        """Count one request."""
        if self.price is None or not self._known:
            return
        least, most = estimate(self.price, job)
        self._known = least is not None
        self._least += least or 0.0
        self._capped &= most is not None
        self._most += most or 0.0

    def __str__(self) -> str:
        if not self._known or not self._least:
            return ""
        most = f", at most about ${self._most:,.4g} with the answers" if self._capped else ", answers not capped"
        return f", about ${self._least:,.4g} for the prompts{most}"


def _plan(counts: Counter[str], name: str) -> str:
    parts = [f"{counted(counts['requests'], 'request')} to {name}"]
    for what, words in (
        ("sent again", "of them sent again"),
        ("in doubt", "of them in doubt and may be paid for twice"),
        (Action.KEEP_OK.value, "done before"),
        (Action.KEEP_FAILED.value, "failed before and not sent again"),
        (Action.HOLD.value, "in doubt and not sent again"),
        ("failed", "unusable"),
    ):
        if counts[what]:
            parts.append(f"{counts[what]:,} {words}")
    return ", ".join(parts)


def _line(job: Job, request: Request, base_url: str) -> bytes:
    identity = job.identity
    fields = {
        "id": identity.id,
        "index": identity.index,
        "method": request.method,
        "url": f"{base_url}{request.path}",
    }
    return json.dumps(fields | {"body": json.loads(request.body), "record": identity.record, "key": job.key}) + b"\n"


def _write(fd: int, lines: bytes, *, escape: bool) -> None:
    view = memoryview(escape_line(lines) if escape else lines)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except BrokenPipeError:
            raise ReaderGone("the reader of stdout went away") from None
        except OSError as error:
            raise OutputError(f"cannot write to stdout: {error.strerror}") from error


Decide = Callable[[Job | InvalidRecord], Decision]
"""Decides what would be done with a record of the input."""


@contextmanager
def open_decisions(
    path: Path | None, resume: ResumeSettings, json_retries: int, say: Callable[[str], None]
) -> Iterator[Decide]:
    """Open the results file for reading; without one all records would be sent.

    Where nothing says what becomes of answers made with other options, the action is CHANGED: the run itself would stop
    there. Raises UsageError for a file that is not a results file.
    """
    if path is None or not path.exists():
        yield lambda job: Decision(Action.SEND)
        return
    with open_results([str(path)]) as (results,):
        policy = ResumePolicy.of(resume, resume.changed or results.last_header.get("changed"), json_retries)
        if results.damage is not None:
            say(f"llmbatch: {printable(results.damage)}: which records are in doubt is not known")
        by_record = results.by_record()
        yield lambda job: by_record.decide(job.identity, by_record.known_key(job), policy)
