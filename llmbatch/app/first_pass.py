"""Goes through the input of a run that is continued, without sending anything."""

import os
import stat
from contextlib import closing

from llmbatch.app.input import InputReader
from llmbatch.app.survey import Survey
from llmbatch.core.ports import Dialect
from llmbatch.core.settings import Settings
from llmbatch.results.history import History
from llmbatch.results.resume_policy import ResumePolicy

__all__ = ["take_survey"]

BATCH = 32
"""Records that are read at a time: few enough to stay in the processor's caches."""


def take_survey(settings: Settings, dialect: Dialect, history: History, policy: ResumePolicy) -> Survey | None:
    """Go through the whole input without sending anything; None when it can be read only once. Raises InputError."""
    input = settings.input
    if not _rereadable(input.paths):
        return None
    survey = Survey()
    # What comes back with a result makes no difference here.
    with closing(InputReader(settings._replace(input=input._replace(meta="none")), lambda text: None)) as reading:
        survey.contents = reading.record()
        jobs = reading.jobs(dialect)
        while batch := jobs.records(BATCH):
            for job in batch:
                survey.add(job, history.decide(job.identity, job.key, policy))
    survey.close()
    return survey


def _rereadable(paths: tuple[str, ...]) -> bool:
    try:
        return bool(paths) and all(path != "-" and stat.S_ISREG(os.stat(path).st_mode) for path in paths)
    except OSError:
        return False
