"""Answers against what is expected."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.errors import UsageError
from llmbatch.results.expectation import NO_ANSWER, Expectation


def line(text: Any = None, gold: Any = None, **fields: Any) -> dict[str, Any]:
    return {"status": "ok", "text": text, "meta": {"gold": gold}, **fields}


def scored(*lines: dict[str, Any], asked: str = "text=meta.gold") -> Expectation:
    found = Expectation(asked)
    for one in lines:
        found.add(one, "m")
    return found


@pytest.mark.parametrize(
    ("answer", "gold", "right", "as_values"),
    [
        ("yes", "yes", True, 0),
        (" yes\n", "yes", True, 0),
        ("Yes", "yes", False, 0),
        ("3", 3, True, 1),
        ("3.0", 3, True, 1),
        (3, "3", True, 1),
        (3, 3.0, True, 0),
        ("three", 3, False, 1),
        ("true", True, True, 1),
        (1, True, False, 0),
        ("1", True, False, 1),
        ("[1, 2]", [1, 2.0], True, 1),
        ({"a": 1}, {"a": 1.0}, True, 0),
        ({"a": 1}, {"a": True}, False, 0),
        ("\ud800", 3, False, 1),
    ],
)
def test_values_are_compared_as_json(answer: Any, gold: Any, right: bool, as_values: int) -> None:
    found = scored(line(answer, gold))
    assert found.total().right == right and found.as_values == as_values
    assert any("JSON" in text for text in found.conclude()) == bool(as_values)


def test_a_record_without_an_answer_is_not_right_and_one_without_gold_is_not_counted() -> None:
    failed = {"status": "failed", "error": {}, "meta": {"gold": "a"}}
    found = scored(line("a", "a"), line("b", "a"), line(None, "a"), failed, line("a"))
    score = found.total()
    assert (score.right, score.wrong, score.unanswered, score.accuracy) == (1, 1, 2, 0.25)
    assert score.confusion == {("a", "a"): 1, ("a", "b"): 1, ("a", NO_ANSWER): 2}
    assert found.conclude() == ["1 of 5 lines have no meta.gold, and are not counted"]


@pytest.mark.parametrize(
    ("asked", "words", "hint"),
    [
        ("text=meta.golt", "meta.golt", "Did you mean meta.gold?"),
        ("json.lable=meta.gold", "json.lable", "Did you mean json.label?"),
        ("zzz=meta.gold", "zzz", "There are: "),
    ],
)
def test_a_field_that_no_line_has_is_told_with_the_nearest(asked: str, words: str, hint: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        scored(line("a", "a", json={"label": "a"}), asked=asked).conclude()
    assert hint in str(raised.value.hint)


@pytest.mark.parametrize("asked", ["text", "=", "text=", "=meta.gold"])
def test_what_is_not_two_fields_is_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="FIELD=FIELD"):
        Expectation(asked)


def test_names_may_have_dots_in_them() -> None:
    dotted = {"status": "ok", "json": {"a.b": {"c": 1}}, "meta": {"x.y": 1}}
    assert scored(dotted, asked="json.a.b.c=meta.x.y").total().right == 1


VALUES = st.none() | st.text(max_size=3) | st.integers(0, 3) | st.booleans() | st.lists(st.integers(), max_size=2)


@given(st.lists(st.tuples(VALUES, VALUES, st.sampled_from("abc")), max_size=30))
def test_each_line_with_gold_is_counted_once_whatever_is_in_it(rows: list[tuple[Any, Any, str]]) -> None:
    found = Expectation("text=meta.gold")
    for answer, gold, model in rows:
        found.add(line(answer, gold), model)
    total = found.total()
    assert total.records == sum(gold is not None for _, gold, _ in rows) == total.confusion.total()
    assert total.right == sum(score.right for score in found.groups.values())
    assert sum(map(len, (score["confusion"] for score in found.as_json()["groups"].values()))) >= bool(total.records)


@pytest.mark.parametrize(
    ("right", "records", "low", "high"),
    # Wilson's interval as Newcombe (1998) prints it.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_an_accuracy_has_its_confidence_interval(right: int, records: int, low: float, high: float) -> None:
    found = scored(*[line("a", "a")] * right, *[line("b", "a")] * (records - right))
    assert found.total().interval == pytest.approx((low, high), abs=6e-5)


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(2, 5))
def test_samples_that_always_agree_tell_no_more_than_one_of_each(right: list[bool], times: int) -> None:
    def lines(samples: int) -> list[dict[str, Any]]:
        return [
            line("a" if is_right else "b", "a", id=number, sample=sample)
            for number, is_right in enumerate(right)
            for sample in range(samples)
        ]

    without = [{name: value for name, value in each.items() if name != "sample"} for each in lines(1)]
    one, several = scored(*without).total(), scored(*lines(times)).total()
    assert one.accuracy == several.accuracy and one.interval == pytest.approx(several.interval)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=20))
def test_the_accuracy_lies_in_its_interval(records: list[list[bool]]) -> None:
    lines = [
        line("a" if is_right else "b", "a", id=number, sample=sample)
        for number, samples in enumerate(records)
        for sample, is_right in enumerate(samples)
    ]
    score = scored(*lines).total()
    assert score.interval is not None and score.accuracy is not None
    low, high = score.interval
    assert 0 <= low <= score.accuracy + 1e-9 and score.accuracy - 1e-9 <= high <= 1
