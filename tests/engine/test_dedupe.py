"""Equal requests: each job entered is sent, copied, held or waiting, and no key is ever sent twice at a time."""

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.job import Identity, Job, Route
from llmbatch.engine.dedupe import Dedupe, Entry

ROUTE = Route("/v1/chat/completions", "m")
KEYS = tuple(f"{number:064x}" for number in (1 << 200, 2 << 200, 3 << 200))


def job(index: int, key: str) -> Job:
    return Job(Identity(index, None, "r"), key, ROUTE, {}, {}, 1)


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(["enter", "answer", "hold", "fail", "give up"]))))
def test_every_job_is_sent_or_shares_the_end_of_the_one_that_was_sent(steps: list[tuple[str, str]]) -> None:
    dedupe, sent, ended, paid, held = Dedupe(), dict[str, Job](), 0, set[str](), set[str]()
    entered = 0
    for key, step in steps:
        if step == "enter":
            entry = dedupe.enter(new := job(entered, key))
            entered += 1
            assert entry is (
                Entry.COPY if key in paid else Entry.HOLD if key in held else Entry.WAIT if key in sent else None
            )
            if entry is None:
                sent[key] = new
            ended += entry in (Entry.COPY, Entry.HOLD)
        elif (first := sent.pop(key, None)) is not None:
            ended += 1
            if step == "answer":
                paid.add(key)
                ended += len(dedupe.paid(first))
            elif step == "hold":
                held.add(key)
                ended += len(dedupe.held(first))
            elif step == "give up":
                ended += len(dedupe.released(first))
            elif (successor := dedupe.successor(first)) is not None:
                sent[key] = successor
        assert entered == ended + len(sent) + dedupe.waiting, repr(dedupe)
    assert dedupe.waiting == dedupe.forget() and dedupe.waiting == 0


def test_its_repr_says_what_waits_for_what() -> None:
    dedupe = Dedupe()
    for index, key in enumerate((KEYS[0], KEYS[0], KEYS[1], KEYS[2])):
        dedupe.enter(job(index, key))
    dedupe.held(job(2, KEYS[1]))
    dedupe.paid(job(3, KEYS[2]))
    assert repr(dedupe) == "<Dedupe 1 keys sent, 1 paid, 1 held, 1 jobs waiting>"
