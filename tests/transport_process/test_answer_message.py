"""Answers come out of their messages as they went in."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.exchange import RateLimits, ReadReply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Completion, UnusableAnswer, Usage
from llmbatch.transport_process.answer_message import answer_in, message_of

words = st.none() | st.text(max_size=9)
counts = st.none() | st.integers(0, 10**6)
completions = st.builds(
    Completion,
    words,
    words,
    words,
    st.none() | st.builds(Usage, counts, counts, counts, counts, counts),
    st.none() | st.floats(0, 9),
    words,
    st.dictionaries(st.text(max_size=3), st.lists(st.integers(), max_size=2), max_size=2),
    st.none() | st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2),
)
faults = st.builds(Fault, kind=st.sampled_from(Kind), message=st.text(max_size=9), billing=st.sampled_from(Billing))
unusable = st.builds(UnusableAnswer, kind=st.just(Kind.UNPARSABLE), message=st.text(max_size=9), completion=completions)
limits = st.none() | st.builds(RateLimits, st.none() | st.floats(1, 9))
read = st.tuples(st.lists(completions | faults | unusable, min_size=1, max_size=3).map(tuple), limits)


@given(st.integers(0, 9), read | faults)
def test_an_answer_comes_out_as_it_went_in(lane: int, answer: ReadReply | Fault) -> None:
    message = pickle.loads(pickle.dumps(message_of(lane, answer)))
    assert (message[0], answer_in(message)) == (lane, answer)
