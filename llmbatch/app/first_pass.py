"""Goes through the input of a run that is continued, without sending anything; on two cores if it is long."""

import os
import stat
from array import array
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from llmbatch.app.input import InputReader
from llmbatch.app.survey import Survey
from llmbatch.core.fork import can_fork, forked
from llmbatch.core.ports import Dialect
from llmbatch.core.settings import InputSettings, ModelSettings
from llmbatch.input.address import is_remote
from llmbatch.input.decode import hash_of
from llmbatch.input.halves import Part, halves
from llmbatch.input.occurrences import Occurrences
from llmbatch.input.source import open_source
from llmbatch.results.results_file import ResultsFile
from llmbatch.results.resume_policy import KEPT, ResumePolicy

__all__ = ["take_survey"]

BATCH = 32
"""Records that are read at a time: few enough to stay in the processor's caches."""
LONG = 4 << 20
"""So many bytes of input are worth a second process."""


def take_survey(
    input: InputSettings, model: ModelSettings, dialect: Dialect, results: ResultsFile, policy: ResumePolicy
) -> Survey | None:
    """Read all of the input without sending anything; None when it can be read only once. Raises InputError."""
    if not _rereadable(input.paths):
        return None
    # What comes back with a result makes no difference here.
    first_pass = _FirstPass(input._replace(meta="none"), model, dialect, results, policy)
    is_whole = input.limit is None and input.sample is None and input.repeat is None and not input.spans
    is_long = _is_long(input.paths) and is_whole
    survey = first_pass.on_two_cores() if is_long and can_fork() else None
    return survey or first_pass.alone()


@dataclass(slots=True)
class _Half:
    """What was found in a part of the input of which no record was there before."""

    survey: Survey = field(default_factory=Survey)
    matched: bytes = b""
    """What became of the line of each record."""
    new: "array[int]" = field(default_factory=lambda: array("q"))
    """The hashes of the records without a line."""


class _FirstPass:
    """A pass over an input."""

    def __init__(
        self, input: InputSettings, model: ModelSettings, dialect: Dialect, results: ResultsFile, policy: ResumePolicy
    ) -> None:
        self._input, self._model = input, model
        self._dialect, self._results, self._policy = dialect, results, policy

    def alone(self) -> Survey:
        """Go through all of it."""
        self._results.forget_matched()
        survey, decide, policy = Survey(), self._results.decide, self._policy
        known_key = self._results.known_key
        with closing(InputReader(self._input, self._model, lambda text: None)) as reading:
            survey.contents = reading.record()
            jobs = reading.jobs(self._dialect)
            while batch := jobs.records(BATCH):
                for job in batch:
                    survey.add(job, decide(job.identity, known_key(job), policy))
            survey.fill(jobs.position)
        survey.close()
        return survey

    def on_two_cores(self) -> Survey | None:
        """Go through one half while a second process goes through the other.

        None where it cannot be cut in two, and where a record may be there twice: how often one was there before, which
        is a part of its identity, is counted from the beginning. Then `alone` does it all again.
        """
        input = self._input
        try:
            parts = halves(input.paths, format=input.format, delimiter=input.delimiter)
        except OSError:
            return None
        if parts is None:
            return None
        self._results.forget_matched()
        with forked(lambda: self._half(parts[1], Occurrences(), from_start=False), files=self._results.files) as other:
            if other is None:
                return None
            seen = Occurrences()
            first = self._half(parts[0], seen, from_start=True)
            second = other.result() if first is not None else None
        if first is None or second is None or not self._results.match(second.matched):
            return None
        if any(map(seen.count, second.new)):
            return None
        first.survey.extend(second.survey, joined=parts[0].span is not None)
        return first.survey

    def _half(self, part: Part, seen: Occurrences, *, from_start: bool) -> _Half | None:
        """Go through a part; None as soon as a record was there before."""
        half, results, policy = _Half(), self._results, self._policy
        survey, decide = half.survey, results.decide
        input = self._input
        source = open_source(
            part.paths,
            format=input.format,
            max_line=input.max_line,
            delimiter=input.delimiter,
            spans=() if part.span is None else (part.span,),
        )
        with closing(InputReader(input, self._model, lambda text: None, source)) as reading:
            survey.contents = reading.record()
            jobs = reading.jobs(self._dialect, seen=seen, from_start=from_start)
            while batch := jobs.records(BATCH):
                for job in batch:
                    identity = job.identity
                    if identity.occurrence:
                        return None
                    decision = decide(identity, results.known_key(job), policy)
                    survey.add(job, decision)
                    if decision is not KEPT and not results.has_line(identity):
                        half.new.append(hash_of(identity.id, identity.record))
            survey.fill(jobs.position)
        half.matched = results.matched
        return half


def _is_long(paths: Sequence[str]) -> bool:
    """Say whether inputs are files here, and long."""
    return not any(map(is_remote, paths)) and sum(os.stat(path).st_size for path in paths) >= LONG


def _is_regular(path: str) -> bool:
    return path != "-" and stat.S_ISREG(os.stat(path).st_mode)


def _rereadable(paths: Sequence[str]) -> bool:
    try:
        return bool(paths) and all(is_remote(path) or _is_regular(path) for path in paths)
    except OSError:
        return False
