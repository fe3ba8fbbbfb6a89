"""What a run on a results file would do, found out without touching the file: for `--dry-run`."""

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmbatch.core.job import Job
from llmbatch.core.outcome import Refused
from llmbatch.core.settings import Settings
from llmbatch.results.index import Known, Trait, traits_of
from llmbatch.results.lines import key_fingerprint, name_of
from llmbatch.results.reader import ResultsFile, identity_of, open_results
from llmbatch.results.resume_policy import Action, Before, Judgement, ResumePolicy, judge

__all__ = ["Foresight", "foresight"]

Foresight = Callable[[Job | Refused], Judgement]
"""Says what would become of a record of the input."""


@contextmanager
def foresight(settings: Settings) -> Iterator[Foresight]:
    """Open the results file of the settings for reading; without one everything would be sent.

    Changed options count as "send again", since a dry run is how one looks before deciding. Raises UsageError for a
    file that is not a results file.
    """
    path = settings.output.path
    if path is None or settings.output.overwrite or not path.exists():
        yield lambda job: Judgement(Action.SEND)
        return
    resume = settings.resume
    policy = ResumePolicy(resume.keep_failed, resume.retry_billed, resume.in_doubt == "hold", resume.changed or "rerun")
    with open_results([str(path)]) as (results,):
        yield _Standing(results, policy)


class _Standing:
    """The lines of a results file by record."""

    def __init__(self, results: ResultsFile, policy: ResumePolicy) -> None:
        self._policy = policy
        self._known = Known()
        self._records = array("Q")
        """Their `record` digests, cut to 64 bits."""
        for line in results.lines():
            if (fields := line.fields) is not None:
                traits, key = traits_of(fields), key_fingerprint(fields.get("key"))
                if self._known.add(identity_of(fields), key, line.offset, traits) is None:
                    self._records.append(key_fingerprint(fields["record"]))
        self._doubts = {
            intent.identity: (intent.key, mark)
            for intent, mark in results.planned
            if self._known.find(intent.identity) is None
        }

    def __call__(self, job: Job | Refused) -> Judgement:
        """Judge a record as the run would."""
        name = name_of(job.identity)
        place = self._known.find(name)
        traits = None if place is None else self._known.traits(place)
        if isinstance(job, Refused):
            if traits is None:
                return Judgement(Action.SEND)
            return Judgement(Action.KEEP_OK if traits & Trait.OK else Action.KEEP_FAILED)
        key, doubts = self._doubts.get(name, (0, 0))
        line_key = 0 if place is None else self._known.key(place)
        before = Before(traits, line_key, doubts, key)
        record = job.identity.record
        same = place is not None and self._records[place] == key_fingerprint(record)
        return judge(job.identity, key_fingerprint(job.key), before, lambda: record if same else "", self._policy)
