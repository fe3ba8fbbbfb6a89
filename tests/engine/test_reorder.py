"""Results back in the order of the input."""

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.outcome import Completion, InvalidRecord, Outcome
from llmbatch.engine.reorder import Reorder, input_index
from tests.support.scripted import invalid, job


def outcome(index: int) -> Outcome | InvalidRecord:
    return Outcome(job(index), Completion("t", None, None, None)) if index % 3 else invalid(index)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)), st.lists(st.integers(1, 4), max_size=12))
def test_whatever_the_order_of_arrival_they_leave_in_order_and_none_is_lost(
    arrival: list[int], missing: set[int], sizes: list[int]
) -> None:
    reorder, left = Reorder(), []
    steps = iter(arrival)
    for size in [*sizes, 12]:
        batch = []
        for index in [i for i, _ in zip(steps, range(size), strict=False)]:
            if index in missing:
                reorder.skip(index)
            else:
                batch.append(outcome(index))
        left += [input_index(o) for o in reorder.push(batch)]
        assert left == sorted(left)
    rest = [input_index(o) for o in reorder.rest()]
    consumed = [i for i in arrival if i not in missing]
    assert sorted(left + rest) == left + rest and set(left + rest) <= set(consumed)


def test_what_comes_first_leaves_at_once_and_the_rest_waits() -> None:
    reorder = Reorder()
    assert [input_index(o) for o in reorder.push([outcome(0), outcome(2)])] == [0]
    assert reorder.next_index == 1
    assert [input_index(o) for o in reorder.push([outcome(1)])] == [1, 2]


def test_nobody_waits_for_what_is_skipped() -> None:
    reorder = Reorder()
    reorder.push([outcome(1), outcome(3)])
    reorder.skip(0)
    reorder.skip(2)
    assert [input_index(o) for o in reorder.push([])] == [1, 3] and reorder.next_index == 4


def test_the_rest_is_what_was_still_held() -> None:
    reorder = Reorder()
    reorder.push([outcome(5), outcome(3)])
    assert [input_index(o) for o in reorder.rest()] == [3, 5] and reorder.rest() == []
