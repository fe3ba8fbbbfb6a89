"""What an answer became goes from one process to another unchanged."""

import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.outcome import Completion, CopiedAnswer, UnusableAnswer, Usage

texts = st.text(max_size=5) | st.none()
counts = st.integers(0, 2**53) | st.none()
costs = st.floats(0, 1e6) | st.none()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
completions = st.builds(
    Completion,
    text=texts,
    finish_reason=texts,
    model=texts,
    usage=st.builds(Usage, counts, counts, counts, counts, counts) | st.none(),
    cost=costs,
    request_id=texts,
    extra=st.dictionaries(st.text(max_size=5), values, max_size=2),
    body=values,
)
fault: dict[str, Any] = {
    "kind": st.sampled_from(Kind),
    "message": st.text(max_size=5),
    "scope": st.sampled_from(Scope),
    "billing": st.sampled_from(Billing),
    "retry": st.booleans(),
    "status": st.integers(100, 599) | st.none(),
    "wait": st.floats(0, 1e6) | st.none(),
    "raw": st.binary() | st.none(),
    "answer": values,
}
faults = st.builds(Fault, **fault)
rejections = st.builds(UnusableAnswer, completion=completions, **fault)


@given(st.lists(completions | faults | rejections, max_size=3))
def test_a_verdict_is_the_same_on_the_other_side(verdicts: list[Completion | Fault]) -> None:
    there = pickle.loads(pickle.dumps(verdicts, pickle.HIGHEST_PROTOCOL))
    assert there == verdicts
    assert [type(verdict) for verdict in there] == [type(verdict) for verdict in verdicts]
    for verdict, twin in zip(verdicts, there, strict=True):
        if isinstance(verdict, Completion):
            assert type(twin.usage) is type(verdict.usage)


def test_a_copy_stays_one() -> None:
    there = pickle.loads(pickle.dumps(CopiedAnswer(how="reused")))
    assert type(there) is CopiedAnswer and there.how == "reused"
