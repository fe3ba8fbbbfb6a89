"""A results file used as a run uses it, without a network."""

from collections.abc import Iterable
from pathlib import Path

from llmbatch.core.job import Identity, Job, Route
from llmbatch.core.outcome import Completion, Outcome
from llmbatch.core.redact import Redactor
from llmbatch.results.opening import open_store
from llmbatch.results.render import jsonl
from llmbatch.results.resume_policy import Action, ResumePolicy
from llmbatch.results.store import Store

render = jsonl(include=frozenset(), redact=Redactor())


def job(name: str, index: int = 0, *, key: int | None = None) -> Job:
    """Make a job whose id is its name."""
    number = abs(hash(name)) if key is None else key << 64
    return Job(Identity(index, name, f"{name}-record"), f"{number:032x}", Route("/p", "m"), {}, {}, 1)


def answer(of: Job, text: str = "yes") -> Outcome:
    """Answer a job."""
    of.attempts.sent += 1
    return Outcome(of, Completion(text, "stop", "m", None))


def run(path: Path, names: Iterable[str], *, until: int = 10**9, policy: ResumePolicy = ResumePolicy()) -> list[str]:  # noqa: B008
    """Ask for what is missing, as a run does; leave after so many lines as if killed. Return what was sent."""
    with open_store(path, fsync="batch") as store:
        jobs = []
        for index, name in enumerate(names):
            one = job(name, index)
            judgement = store.decide(one.identity, one.key, policy)
            if judgement.action is Action.SEND:
                one.redo, one.attempts.possibly_billed = judgement.redo, store.prior(one.identity, one.key)
                jobs.append(one)
        sent = _send(store, jobs, until)
        if until >= len(jobs):
            store.finish()
        return sent


def _send(store: Store, jobs: list[Job], until: int) -> list[str]:
    journal = store.journal(render, batch=4, rescue_dir=None)
    try:
        for start in range(0, len(jobs), 4):
            batch = jobs[start : start + 4]
            store.plan(batch)
            for one in batch:
                if until <= 0:
                    return [one.identity.id for one in jobs if one.attempts.sent and isinstance(one.identity.id, str)]
                store.sent([one])
                store.mark_sent()
                journal.write([answer(one)])
                until -= 1
    finally:
        journal.close()
    return [str(one.identity.id) for one in jobs]
