"""Doubts are never lost, whatever is edited, reverted, reordered or shared in between, as a ledger proves."""

from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Job
from llmbatch.core.outcome import Outcome
from llmbatch.core.settings import Redo
from llmbatch.results.opening import open_store
from llmbatch.results.reader import open_results
from llmbatch.results.resume_policy import Action, ResumePolicy
from tests.results.store_use import answer, job, render
from tests.support.deep import examples
from tests.torture.bench import quick_folder, results_of

LOST, ANSWERED, REFUSED = "lost", "answered", "refused"
"""What becomes of a request: the process dies before its answer comes; it is answered; it fails unbilled."""

runs = st.lists(
    st.tuples(
        st.booleans(),  # --in-doubt hold
        st.permutations(["a", "b", "c"]),
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), min_size=1),  # which version each record has
        st.dictionaries(st.sampled_from("abc"), st.sampled_from([LOST, ANSWERED, REFUSED]), min_size=1),
    ),
    min_size=2,
    max_size=7,
)


class Ledger:
    """What the provider was asked, by request, and what of it was under hold while its outcome was not known."""

    def __init__(self) -> None:
        self.billed: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        """Requests whose answer was lost and that no line has answered since."""


def run(path: Path, jobs: list[Job], ends: dict[str, str], policy: ResumePolicy, ledger: Ledger) -> None:
    """Do what a run does with these jobs, one after the other; each ends as told, `answered` by default."""
    with open_store(path, fsync="batch") as store:
        journal = store.journal(render, batch=4, rescue_dir=None)
        answered: set[str] = set()
        killed = False
        todo = []
        for one in jobs:
            verdict = store.decide(one.identity, one.key, policy)
            if verdict.action is Action.SEND:
                one.redo, one.attempts.possibly_billed = verdict.redo, store.prior(one.identity, one.key)
                todo.append(one)
        store.plan(todo)
        for one in todo:
            name = f"{one.identity.id} {one.key}" if not policy.dedupe else one.key
            if policy.dedupe and one.key in answered:
                continue
            assert not policy.hold or not ledger.unknown[name], f"{name} was sent though it was in doubt"
            store.sent([one])
            store.mark_sent()
            end = ends.get(str(one.identity.id), ANSWERED)
            if end == REFUSED:
                store.came_back([one])
                refusal = Fault(kind=Kind.BAD_REQUEST, message="no", billing=Billing.UNBILLED)
                one.attempts.sent += 1
                journal.write([Outcome(one, refusal)])
                continue
            ledger.billed[name] += 1
            if end == LOST:
                ledger.unknown[name] += 1
                killed = True  # the others were planned, and not sent
                break
            journal.write([answer(one)])
            answered.add(one.key)
            assert policy.dedupe or one.attempts.possibly_billed >= ledger.unknown[name], (
                f"{name} does not report what may have been billed"
            )
            ledger.unknown[name] = 0
        journal.close()
        if not killed:
            store.finish()


@settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
@given(runs, st.booleans())
def test_under_hold_no_request_in_doubt_is_sent_again(history: list[Any], dedupe: bool) -> None:
    with quick_folder() as folder:
        ledger = Ledger()
        for hold, order, versions, ends in history:
            # Under dedupe all records of one version ask for the same.
            key = {name: 1 + versions.get(name, 0) + (0 if dedupe else 10 * ord(name)) for name in "abc"}
            jobs = [job(name, index, key=key[name]) for index, name in enumerate(order)]
            for one in jobs:
                one.identity.record = f"{one.identity.id}-{one.key}"
            run(folder / "out.jsonl", jobs, ends, ResumePolicy(hold=hold, changed="rerun", dedupe=dedupe), ledger)
        names = [line["id"] for line in results_of(folder / "out.jsonl")]
        assert len(set(names)) == len(names)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(runs, st.booleans(), st.sampled_from(["all", "none", "unbilled"]))
def test_who_only_reads_a_file_decides_as_the_next_run_will(history: list[Any], dedupe: bool, failures: str) -> None:
    with quick_folder() as folder:
        path = folder / "out.jsonl"
        for hold, order, versions, ends in history:
            jobs = [job(name, index, key=1 + versions.get(name, 0)) for index, name in enumerate(order)]
            run(path, jobs, ends, ResumePolicy(changed="rerun"), Ledger())
            asked = [job(name, index, key=key) for index, name in enumerate("abcd") for key in (1, 2, 3)]
            policy = ResumePolicy(redo=Redo(failures), hold=hold, changed="rerun", dedupe=dedupe)
            with open_results([str(path)]) as (file,):
                view = file.by_record()
                expected = [
                    (view.decide(one.identity, one.key, policy), view.prior(one.identity, one.key)) for one in asked
                ]
                counts = view.in_doubt, view.orphans()
            with open_store(path, fsync="never") as store:
                assert [
                    (store.decide(one.identity, one.key, policy), store.prior(one.identity, one.key)) for one in asked
                ] == expected
                assert (store.found.in_doubt, store.orphans()) == counts


def test_a_better_answer_that_is_asked_for_is_in_doubt_though_the_unfit_one_is_recorded(tmp_path: Path) -> None:
    unfit = Fault(kind=Kind.NOT_JSON, message="no", billing=Billing.BILLED, retry=True)
    refusal = Fault(kind=Kind.BAD_REQUEST, message="no")
    for redone in (False, True):
        path = tmp_path / f"{redone}.jsonl"
        if redone:
            run(path, [job("a", key=1)], {"a": REFUSED}, ResumePolicy(), Ledger())
        for end in ("lost", "refused"):
            with open_store(path, fsync="batch") as store:
                journal = store.journal(render, batch=4, rescue_dir=None)
                one = job("a", key=1 if end == "lost" else 2)
                one.redo = redone or end == "refused"
                store.plan([one])
                store.sent([one])
                store.mark_sent()
                store.came_back([one])
                store.record([Outcome(one, unfit)])
                store.sent([one])
                store.mark_sent()
                if end == "refused":
                    store.came_back([one])
                    journal.write([Outcome(one, refusal)])
                journal.close()
            with open_store(path, fsync="batch") as store:
                assert store.prior(one.identity, one.key) == (end == "lost")
