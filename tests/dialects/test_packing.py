"""Several records in one request: who may share, whose answer is whose, what each pays."""

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Identity, Job
from llmbatch.core.outcome import Completion
from llmbatch.core.prompt import Prompt
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.openai_completions import Completions
from llmbatch.dialects.openai_embeddings import Embeddings
from llmbatch.dialects.packing import share
from llmbatch.dialects.request_options import Options

NUMBERS = count()


def job(dialect: Any, text: str, *, tokens: int = 1, pack_group: int = 0, **params: Any) -> Job:
    route, item = dialect.item(Prompt(text=text, params=params))
    made = Job(Identity(next(NUMBERS), None, "r"), "k", route, item, {}, tokens)
    made.attempts.pack_group = pack_group
    return made


def embeddings(pack: int = 64) -> Embeddings:
    return Embeddings(Options(model="m"), pack=pack)


def jobs(dialect: Any, number: int) -> list[Job]:
    return [job(dialect, f"text {n}") for n in range(number)]


def read(dialect: Any, asked: Sequence[Job], answer: Any, status: int = 200) -> tuple[Completion | Fault, ...]:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return AnswerReader().read(dialect.request(asked).expected, Reply(status, {}, body))


def vectors(*indices: int | None, **more: Any) -> dict[str, Any]:
    data = [{"embedding": [n]} | ({} if n is None else {"index": n}) for n in indices]
    return {"model": "m", "data": data, "usage": {"prompt_tokens": 10, "total_tokens": 10}} | more


# Who may share


@pytest.mark.parametrize(
    ("others", "number"),
    [
        ([{}] * 9, 4),
        ([{}, {"dimensions": 3}], 2),
        ([{"user": 1}], 1),
        ([{}, {"pack_group": 7}], 2),
        ([{"tokens": 60_000}, {"tokens": 60_000}], 2),
    ],
)
def test_jobs_share_a_request_up_to_the_first_that_differs(others: list[dict[str, Any]], number: int) -> None:
    dialect = embeddings(4)
    assert dialect.pack([job(dialect, "x", **fields) for fields in [{}, *others]]) == number


def test_one_that_is_too_long_goes_alone() -> None:
    dialect = embeddings()
    assert dialect.pack([job(dialect, "x", tokens=10**6), job(dialect, "y")]) == 1


def test_an_input_that_is_a_list_goes_alone_and_gets_a_list() -> None:
    dialect = embeddings()
    route, item = dialect.item(Prompt(input=["a", "b"]))
    several = Job(Identity(0, None, "r"), "k", route, item, {}, 1)
    assert dialect.pack([several, job(dialect, "x")]) == dialect.pack([job(dialect, "x"), several]) == 1
    (verdict,) = read(dialect, [several], vectors(1, 0))
    assert isinstance(verdict, Completion) and verdict.extra == {"embedding": [[0], [1]]}


@pytest.mark.parametrize("other", [1.0, True])
def test_numbers_that_python_holds_equal_do_not_share(other: Any) -> None:
    dialect = Completions(Options(model="m"), pack=9)
    assert dialect.pack([job(dialect, "x", n=1), job(dialect, "y", n=other)]) == 1


@pytest.mark.parametrize("n", ["2", 2.0, 0, -1, 10**9, [2], True])
def test_a_strange_number_of_choices_does_not_share(n: Any) -> None:
    dialect = Completions(Options(model="m"), pack=9)
    assert dialect.pack([job(dialect, "x", n=n), job(dialect, "y", n=n)]) == 1


def test_a_packed_request_holds_all_inputs() -> None:
    dialect = embeddings()
    request = dialect.request(jobs(dialect, 3))
    assert json.loads(request.body) == {"model": "m", "input": ["text 0", "text 1", "text 2"]}


# Whose answer is whose


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_answers_go_by_their_index(order: tuple[int, ...]) -> None:
    dialect = embeddings()
    verdicts = read(dialect, jobs(dialect, 3), vectors(*order))
    assert [v.extra for v in verdicts if isinstance(v, Completion)] == [
        {"embedding": [n], "packed": 3} for n in range(3)
    ]


def test_without_any_index_the_order_counts() -> None:
    dialect = Completions(Options(model="m"), pack=9)
    choices = [{"text": text, "finish_reason": "stop"} for text in ("a", "b")]
    assert [v.text for v in read(dialect, jobs(dialect, 2), {"choices": choices}) if isinstance(v, Completion)] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("indices", "good"),
    [
        ((0, 1), [0, 1]),
        ((0, 2), [0, 2]),
        ((0, 1, 1), []),
        ((1, 2, 3), []),
        ((0, 1, 2, 3), []),
        ((0, 1, -1), []),
        ((0, 1, True), []),
        ((None, None), []),
        ((None, 2), []),
        ((0, 1, "x"), []),
        ((0, 1, 1.5), []),
        ((), []),
    ],
)
def test_jobs_whose_answer_is_not_surely_their_own_go_one_by_one_and_the_answer_is_kept_once(
    indices: tuple[Any, ...], good: list[int]
) -> None:
    dialect = embeddings()
    verdicts = read(dialect, jobs(dialect, 3), vectors(*indices))
    assert [n for n, v in enumerate(verdicts) if isinstance(v, Completion)] == good
    lost = [v for v in verdicts if isinstance(v, Fault)]
    assert {v.kind for v in lost} == {Kind.UNPARSABLE} and {v.billing for v in lost} == {Billing.BILLED}
    assert all(v.split and v.scope is Scope.REQUEST for v in lost)
    assert [v.raw is not None for v in lost] == [True] + [False] * (len(lost) - 1)
    assert sum((v.usage.input_tokens or 0) for v in verdicts if v.usage is not None) == 10


@pytest.mark.parametrize(
    ("indices", "order"),
    [
        ((None, None, None), [0, 1, 2]),
        ((0, 0, 0), [0, 1, 2]),
        ((0.0, 0.0, 0.0), [0, 1, 2]),
        ((None, 1, 2), [0, 1, 2]),
        ((2, None, 1), [1, 2, 0]),
        ((2.0, 1.0, 0.0), [2, 1, 0]),
        (("1", "0", "2"), [1, 0, 2]),
    ],
)
def test_the_order_counts_where_the_numbers_tell_nothing_apart(indices: tuple[Any, ...], order: list[int]) -> None:
    dialect = embeddings()
    data = [{"embedding": [place]} | ({} if n is None else {"index": n}) for place, n in enumerate(indices)]
    verdicts = read(dialect, jobs(dialect, 3), {"data": data, "usage": {"total_tokens": 30}})
    assert [v.extra["embedding"] for v in verdicts if isinstance(v, Completion)] == [[n] for n in order]
    assert sum((v.usage.input_tokens or 0) for v in verdicts if v.usage is not None) == 30, "a total alone is shared"


def test_an_answer_that_cannot_be_parsed_is_kept_with_the_first() -> None:
    dialect = embeddings()
    verdicts = read(dialect, jobs(dialect, 3), b"{nonsense")
    assert [v.raw for v in verdicts if isinstance(v, Fault)] == [b"{nonsense", None, None]


def test_several_choices_for_each_prompt() -> None:
    dialect = Completions(Options(model="m"), pack=9)
    asked = [job(dialect, "a", n=2), job(dialect, "b", n=2)]
    choices = [{"index": n, "text": str(n), "finish_reason": "length"} for n in (3, 1, 2, 0)]
    first, second = read(dialect, asked, {"model": "m", "choices": choices})
    assert isinstance(first, Completion) and isinstance(second, Completion)
    assert (first.text, second.text, second.finish_reason) == ("0", "2", "length")
    assert [(one["index"], one["text"]) for one in second.extra["choices"]] == [(0, "2"), (1, "3")]


def test_each_keeps_of_the_body_what_it_would_have_got_alone() -> None:
    dialect = embeddings()
    asked = jobs(dialect, 2)
    asked[1].keep_body = True
    _, second = read(dialect, asked, vectors(0, 1, object="list"))
    assert isinstance(second, Completion) and second.body == {
        "model": "m",
        "object": "list",
        "data": [{"embedding": [1], "index": 0}],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


def test_one_choice_that_broke_off_does_not_take_the_others_with_it() -> None:
    dialect = Completions(Options(model="m"), pack=9)
    choices = [{"index": n, "text": "t", "finish_reason": end} for n, end in enumerate(("stop", "error"))]
    good, bad = read(dialect, jobs(dialect, 2), {"choices": choices})
    assert isinstance(good, Completion) and isinstance(bad, Fault) and bad.billing is Billing.SERVER


# Refusals


@pytest.mark.parametrize(
    ("status", "error", "split"),
    [
        (400, {"message": "no"}, True),
        (400, {"message": "too long", "code": "context_length_exceeded"}, True),
        (413, {}, True),
        (429, {"message": "Request too large on tokens per min", "code": "rate_limit_exceeded"}, True),
        (429, {"message": "slow", "code": "rate_limit_exceeded"}, False),
        (401, {}, False),
        (404, {}, False),
        (500, {}, False),
        (504, {}, False),
    ],
)
def test_a_refusal_that_one_may_have_caused_lets_them_go_apart(status: int, error: Any, split: bool) -> None:
    dialect = embeddings()
    together = read(dialect, jobs(dialect, 2), {"error": error}, status)
    assert [v.split for v in together if isinstance(v, Fault)] == [split, split]
    (alone,) = read(dialect, jobs(dialect, 1), {"error": error}, status)
    assert isinstance(alone, Fault) and not alone.split


# What each pays


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=64))
def test_shares_sum_to_the_whole_and_are_fair_to_a_unit(total: int, weights: list[int]) -> None:
    shares, whole = share(total, weights), sum(weights)
    assert sum(shares) == total and len(shares) == len(weights)
    if whole:
        assert all(abs(part * whole - total * weight) < whole for part, weight in zip(shares, weights, strict=True))


@pytest.mark.parametrize(
    "used",
    [
        {"prompt_tokens": "7", "total_tokens": "7"},
        {"prompt_tokens": 7.0, "total_tokens": 7.0},
        {"input_tokens": 7, "output_tokens": 0, "total_tokens": 7},
        {"inputTokens": 7, "totalTokens": 7},
        {"total_tokens": 7},
    ],
)
@pytest.mark.parametrize("place", [lambda used: {"usage": used}, lambda used: {"meta": {"usage": used}}])
def test_counts_of_any_form_are_shared_and_not_repeated(used: Any, place: Any) -> None:
    asked = jobs(embeddings(), 3)
    verdicts = read(embeddings(), asked, vectors(0, 1, 2) | {"usage": None} | place(used))
    counted = [one.usage for one in verdicts if isinstance(one, Completion)]
    assert sum(one.input_tokens or 0 for one in counted if one is not None) == 7
    assert not any(one.output_tokens for one in counted if one is not None)


@given(
    st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=20),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**9),
)
def test_usage_and_cost_sum_to_those_of_the_request(texts: list[str], into: int, out: int, pico: int) -> None:
    dialect = Completions(Options(model="m"), pack=64)
    usage = {
        "prompt_tokens": into,
        "completion_tokens": out,
        "total_tokens": into + out,
        "prompt_tokens_details": {"cached_tokens": into // 3, "audio_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": out // 2},
        "cost": pico / 1e12,
    }
    choices = [{"index": n, "text": text[::-1], "finish_reason": "stop"} for n, text in enumerate(texts)]
    asked = [job(dialect, text) for text in texts]
    for one in asked:
        one.keep_body = True
    verdicts = read(dialect, asked, {"choices": choices, "usage": usage})
    answers = [v for v in verdicts if isinstance(v, Completion)]
    usages = [v.usage for v in answers if v.usage is not None]
    sums = [sum(part or 0 for part in column) for column in zip(*usages, strict=True)]
    assert sums == [into, out, into // 3, 0, out // 2] or not (into or out)
    assert sum(round((v.cost or 0.0) * 1e12) for v in answers) == pico
    assert sum(v.body["usage"]["total_tokens"] for v in answers) == into + out
