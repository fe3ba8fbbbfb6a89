"""Resumes a results file: counts and shows what a run will do before anything is sent."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from typing import Any

from llmbatch.app.input import InputReader
from llmbatch.app.survey import NAMED, Survey
from llmbatch.codec import json
from llmbatch.codec.digest import digest
from llmbatch.core.errors import ActionNeeded, LlmbatchError, UsageError
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import AlreadyDone, CopiedAnswer, InvalidRecord, Outcome
from llmbatch.core.plural import counted
from llmbatch.core.ports import Dialect
from llmbatch.core.settings import InputSettings, ModelSettings, ResumeSettings
from llmbatch.input.address import shown
from llmbatch.results.answer_cache import OWN, REDO
from llmbatch.results.index import flags_of
from llmbatch.results.resume_policy import Action, Decision, ResumePolicy
from llmbatch.results.run_log import difference
from llmbatch.results.store import Store

__all__ = ["ResumePlan"]

LISTED = 10
"""So many records that are held are named one by one."""
FEW_EDITS = 20
"""So many edited records are sent again without asking."""
FEW_RESULTS = 20
"""So many results may belong to no record of the input before the run stops and asks."""


class ResumePlan:
    """Decides, record by record, what a run on a results file does. Called from the reading thread."""

    def __init__(
        self,
        store: Store,
        input: InputSettings,
        model: ModelSettings,
        resume: ResumeSettings,
        notice: Callable[[str], None],
    ) -> None:
        self._store = store
        self._input, self._model, self._resume = input, model, resume
        self._notice = notice
        header = store.last_header() or {}
        self._before: dict[str, Any] = header.get("options", {})
        self._address = " ".join(model.base_urls or (model.provider or "openai",))
        self._address_before = header.get("address")
        self._inputs_before: list[str] = header.get("inputs", [])
        self._shard = _shard_text(input.shard)
        self._shard_before = header.get("shard", self._shard)
        self._part_before = header.get("part", input.part)
        changed = resume.changed or header.get("changed")
        self._listed = 0
        self._worked: set[Route] | None = None
        self._has_passed = False
        """Whether a record has been passed on to be sent."""
        self._remembered = "keep" if changed == "keep" else None
        self.policy = ResumePolicy.of(resume, changed, model.json_retries)

    def begin(self, dialect: Dialect) -> Survey | None:
        """Tell what the file has and what will be done, and record the options of this run.

        Without a survey (input that can be read only once) options are compared instead of requests. Raises UsageError
        when a person has to decide first.
        """
        self._check_shard()
        survey = self._survey(dialect)
        if survey is not None and self._keeps_edits(survey):
            self.policy = self.policy._replace(keep_edited=True)
            survey = self._survey(dialect)
        self._worked = survey.worked if survey is not None else None
        found = self._store.found
        for text in found.notices:
            self._notice(text)
        if found.pending:
            self._notice(
                f"{counted(found.pending, 'record is', 'records are')} in "
                f"{counted(found.batches, 'batch', 'batches')} that earlier runs made"
            )
        if found.ok or found.failed or found.in_doubt:
            if survey is None:
                self._check_options()
                doubts = self._doubts(found.in_doubt if not self.policy.hold else 0)
                self._notice(
                    f"continuing {self._store.path}: {found.ok:,} done, {found.failed:,} failed, "
                    f"{found.in_doubt:,} in doubt{doubts}"
                )
            else:
                self._check(survey)
                if not self._resume.append:
                    self._check_input(survey, dialect)
                self._notice(f"continuing {self._store.path}: {self._plan(survey)}")
        if self._address_before not in (None, self._address):
            self._notice(f"the address changed: {self._address_before} before, {self._address} now")
        self._store.write_header(
            {
                "options": recorded_options(self._input, self._model),
                "address": self._address,
                "inputs": [*map(shown, self._input.paths)],
                "changed": self._remembered,
                "shard": self._shard,
                **({"part": self._input.part} if self._input.part is not None else {}),
                **({"repeat": self._input.repeat} if self._input.repeat is not None else {}),
            },
            self._store.version,
        )
        return survey

    def worked(self, route: Route) -> bool:
        """Tell whether the file has an answer from a route; without a survey any answer counts for all routes."""
        return route in self._worked if self._worked is not None else self._store.found.ok > 0

    def decide(self, job: Job | InvalidRecord) -> Decision:
        """Decide about one record. Raises UsageError when its options changed and `--changed` does not say what to do.

        When the input can be read only once and there are no earlier options to compare, other records may have been
        sent already: then it raises ActionNeeded.
        """
        key = self._store.known_key(job)
        if isinstance(job, Job) and key is not None:
            job.key = key
        decision = self._store.decide(job.identity, key, self.policy)
        if decision.action is Action.CHANGED:
            what = "its answers were made with other options"
            if not self._has_passed:
                raise self._changed(what)
            outcome = f"record {job.identity.index} showed it, and from there on nothing was sent"
            raise self._changed(what, outcome, kind=ActionNeeded)
        return decision

    def skip_done(self, entries: list[Job | InvalidRecord]) -> list[Job | InvalidRecord | AlreadyDone | Outcome]:
        """Replace the records that need no request, and enter the others in the intents.

        Raises OutputError, UsageError, ActionNeeded.
        """
        checked: list[Job | InvalidRecord | AlreadyDone | Outcome] = [*entries]
        if not self._store.is_new or self._store.answers is not None:
            checked = list(self._decided(entries))
        jobs = [entry for entry in checked if isinstance(entry, Job)]
        if jobs:
            self._store.plan(jobs)
            self._has_passed = True
        return checked

    def _survey(self, dialect: Dialect) -> Survey | None:
        """Survey the input, unless FILE is new."""
        found = self._store.found
        if not (found.ok or found.failed or found.in_doubt):
            return None
        from llmbatch.app.first_pass import take_survey

        return take_survey(self._input, self._model, dialect, self._store, self.policy)

    def _decided(self, entries: list[Job | InvalidRecord]) -> Iterator[Job | InvalidRecord | AlreadyDone | Outcome]:
        for entry in entries:
            if self._store.claim(entry.identity):
                yield AlreadyDone.PENDING
                continue
            decision = self.decide(entry)
            match decision.action:
                case Action.SEND:
                    if isinstance(entry, Job):
                        self._continue(entry, decision)
                    named = self.policy.is_named(entry.identity.id)
                    copy = None if named else self._copy(entry) or self._paid_failure(entry)
                    yield entry if copy is None else copy
                case Action.KEEP_OK:
                    yield AlreadyDone.OK
                case Action.KEEP_FAILED:
                    yield AlreadyDone.FAILED
                case Action.HOLD:
                    copy = self._copy(entry)
                    if copy is None:
                        self._list_held(entry)
                        yield AlreadyDone.HELD
                    else:
                        self._continue(copy.job, decision)
                        copy.job.intent_slot = self._store.place_in_doubt(copy.job)
                        yield copy  # an answer to the same request, which costs nothing

    def _continue(self, job: Job, decision: Decision) -> None:
        """Give a job the counts and costs that earlier runs left of it."""
        attempts = job.attempts
        job.redo = decision.redo
        if decision.attempts:
            job.prior_attempts = attempts.unusable_answers = decision.attempts
            attempts.unusable_answer = self._store.unfit_answer(job.identity)
        attempts.possibly_billed = self._store.prior(job.identity, job.key)
        job.prior_cost = self._store.paid(job.identity) if decision.redo else None

    def _list_held(self, entry: Job | InvalidRecord) -> None:
        """Name the first records that are held; `verify` lists them all."""
        self._listed += 1
        if self._listed <= LISTED:
            identity = entry.identity
            self._notice(f"held in doubt, never sent again: record {identity.position}, id {identity.id!r}")

    def _copy(self, entry: Job | InvalidRecord) -> Outcome | None:
        """Find an answer to the same request, in another results file or, under dedupe, in this one."""
        answers = self._store.answers
        source = answers.where(entry.answer_key) if answers is not None and isinstance(entry, Job) else None
        if source is None or (source in (OWN, REDO) and not self._resume.dedupe):
            return None
        assert isinstance(entry, Job)
        return Outcome(entry, CopiedAnswer(how="deduplicated" if source in (OWN, REDO) else "reused"))

    def _paid_failure(self, entry: Job | InvalidRecord) -> Outcome | None:
        """Find, under dedupe, the failure of an equal request that was paid for; None if it may be asked for again."""
        answers = self._store.answers
        if answers is None or not self._resume.dedupe or not isinstance(entry, Job):
            return None
        line = answers.failure(entry.answer_key)
        if line is None:
            return None
        traits = flags_of(line)
        earlier = self.policy.goes_on(traits, lambda: line)
        if earlier:  # this record goes on with the attempts of that one
            entry.prior_attempts = entry.attempts.unusable_answers = earlier
        if earlier or self.policy.redoes(entry.identity.id, traits, same=True):
            return None
        return Outcome(entry, CopiedAnswer())

    def _check_shard(self) -> None:
        """Raise UsageError for another shard or part than that of the results: it would send others' records."""
        found = self._store.found
        if self._part_before != self._input.part and (found.ok or found.failed or found.in_doubt):
            raise UsageError(
                f"{self._store.path} is part {self._part_before}, and this run is {self._input.part or 'of no part'}",
                "A part is continued by a run on its folder, -o DIR/; another plan has another folder.",
            )
        if self._shard != self._shard_before and (found.ok or found.failed or found.in_doubt):
            raise UsageError(
                f"{self._store.path} is of {_shard_name(self._shard_before)}, and this run is of "
                f"{_shard_name(self._shard)}; nothing was sent",
                "Each shard has a FILE of its own: use the same --shard, or another -o FILE.",
            )

    def _check(self, survey: Survey) -> None:
        changed = survey.count(Action.CHANGED)
        if changed:
            made = counted(changed, "answer was", "answers were")
            raise self._changed(f"{made} made with other options")
        if self.policy.changed is None and self._are_many(survey.edited):
            raise UsageError(
                f"{survey.edited:,} of the {self._store.found.ok:,} records with answers in {self._store.path} "
                "were edited and would be sent again; nothing was sent",
                "--changed rerun sends them, --changed keep keeps the old answers.",
            )

    def _check_input(self, survey: Survey, dialect: Dialect) -> None:
        """Raise UsageError if none of many results belongs to the input: one of the two is the wrong file."""
        results = self._store.found.ok + self._store.found.failed
        if results <= FEW_RESULTS or not survey.records or self._store.orphans() < results:
            return
        if self._input.limit is not None and self._belongs_further_on(dialect):
            return
        raise UsageError(
            f"none of the {results:,} results in {self._store.path} belongs to {_listed(self._input.paths)}: "
            f"they are of {_listed(self._inputs_before)}; nothing was sent",
            "Choose another -o, let the file grow with --append, or start anew with --overwrite.",
        )

    def _belongs_further_on(self, dialect: Dialect) -> bool:
        """Say whether a result belongs to a record beyond `--limit`."""
        from llmbatch.app.first_pass import BATCH

        results = self._store.orphans()
        input = self._input._replace(meta="none", limit=None)
        with closing(InputReader(input, self._model, lambda text: None)) as reading:
            jobs = reading.jobs(dialect)
            while self._store.orphans() == results and (batch := jobs.records(BATCH)):
                for job in batch:
                    self._store.decide(job.identity, self._store.known_key(job), self.policy)
        return self._store.orphans() < results

    def _plan(self, survey: Survey) -> str:
        parts = [f"{survey.count(Action.KEEP_OK):,} done", f"{survey.count(Action.SEND) - survey.invalid:,} to send"]
        held = survey.count(Action.HOLD)
        for count, what in (
            (survey.again, "of them sent again"),
            (survey.edited, "of them edited"),
            (survey.in_doubt, f"of them in doubt{self._doubts(survey.in_doubt, survey.ids_in_doubt)}"),
            (survey.count(Action.KEEP_FAILED), "failed before and not sent again"),
            (held, f"in doubt and not sent again{_ids(survey.ids_in_doubt, held)}"),
            (survey.invalid, "unusable"),
        ):
            if count:
                parts.append(f"{count:,} {what}")
        if orphans := self._store.orphans():
            parts.append(f"{counted(orphans, 'line')} {self._others()}")
        return ", ".join(parts)

    def _others(self) -> str:
        """Say what lines are whose record was not read."""
        if self._resume.append:
            return "of other inputs"
        part = "--limit" if self._input.limit is not None else "--sample" if self._input.sample is not None else None
        if part is None:
            return "without a record in the input"
        return f"outside of {part}" + (", which --prune leaves where they are" if self._resume.prune else "")

    def _doubts(self, count: int, ids: Sequence[Any] = ()) -> str:
        """Say that records in doubt are sent again, and may be billed twice."""
        return f"{_ids(ids, count)} and may be paid for twice" if count else ""

    def _keeps_edits(self, survey: Survey) -> bool:
        return self.policy.changed == "keep" and self._are_many(survey.edited)

    def _are_many(self, edited: int) -> bool:
        return edited > max(FEW_EDITS, self._store.found.ok // 2)

    def _check_options(self) -> None:
        """Compare options where requests cannot be compared before the first is sent."""
        has_answers = self._store.found.ok and self._before
        if has_answers and self.policy.changed is None and self._before != recorded_options(self._input, self._model):
            raise self._changed("its answers were made with other options")

    def _changed(
        self, what: str, outcome: str = "nothing was sent", *, kind: type[LlmbatchError] = UsageError
    ) -> LlmbatchError:
        now = recorded_options(self._input, self._model) if self._before else {}
        return kind(
            f"{self._store.path}: {what} ({difference(self._before, now) or 'a field of the request'}); {outcome}",
            "--changed rerun sends everything again, --changed keep keeps the answers there are.",
        )


def _shard_text(shard: tuple[int, int] | None) -> str | None:
    """Return a shard as text; None for all records."""
    return f"{shard[0]}/{shard[1]}" if shard is not None and shard[1] > 1 else None


def _ids(ids: Sequence[Any], count: int) -> str:
    """Name the first of `count` records, if they have ids."""
    named = [repr(id) for id in ids[:NAMED] if id is not None]
    return f" ({', '.join(named)}{', …' if count > len(named) else ''})" if named else ""


def _shard_name(shard: str | None) -> str:
    return "all records" if shard is None else f"shard {shard}"


def recorded_options(input: InputSettings, model: ModelSettings) -> dict[str, Any]:
    """Return the options that answers depend on."""
    return {
        "endpoint": model.endpoint,
        "model": model.model,
        "template": _text(model.template),
        "system": _text(model.system),
        "param": dict(model.params),
        "override": dict(model.overrides),
        "max_tokens": model.max_tokens,
        **({"image": list(input.images)} if input.images else {}),
        **({"json": True} if model.json else {}),
        **({"schema": digest(json.canonical(model.schema))[:8]} if model.schema is not None else {}),
    }


def _text(option: str | None) -> str | None:
    """Return a short text as it is, and for a long one or a file what distinguishes it."""
    if option is None or (len(option) <= 60 and not option.startswith("@")):
        return option
    if option.startswith("@"):
        try:
            with open(option[1:], "rb") as file:
                return f"{option} {blake2b(file.read(), digest_size=4).hexdigest()}"
        except OSError:
            return option
    return f"{option[:40]}… {blake2b(json.dumps(option), digest_size=4).hexdigest()}"


def _listed(inputs: Sequence[str]) -> str:
    """Name inputs, the first few of many."""
    more = f" and {len(inputs) - LISTED:,} more" if len(inputs) > LISTED else ""
    return (", ".join(map(shown, inputs[:LISTED])) or "another input") + more
