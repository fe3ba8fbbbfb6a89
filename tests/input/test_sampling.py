"""Records that are chosen by a seed, and records that are sent several times."""

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.input.entry import Entry, RecordSource
from llmbatch.input.in_memory import Collected
from llmbatch.input.sampling import Derived, derived


def source(count: int) -> RecordSource:
    return Collected([f"r{number}" for number in range(count)], count)


def all_of(source: RecordSource, limit: int = 7) -> list[str]:
    found: list[Entry] = []
    while entries := source.read(limit):
        assert len(entries) <= limit
        found += entries
    return [entry.value for entry in found]


def chosen(of: int, count: int, seed: int) -> list[str]:
    return all_of(derived(source(of), sample=count, seed=seed, repeat=None))


@given(st.integers(0, 60), st.integers(1, 40), st.integers(0, 5))
def test_a_sample_is_in_the_order_of_the_input_and_as_large_as_it_can_be(of: int, count: int, seed: int) -> None:
    found = chosen(of, count, seed)
    everything = all_of(source(of))
    assert found == [record for record in everything if record in found]
    assert len(set(found)) == len(found) == min(of, count)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 5))
def test_a_larger_sample_of_the_same_seed_has_the_smaller_one_in_it(of: int, count: int, seed: int) -> None:
    assert set(chosen(of, count, seed)) <= set(chosen(of, count + 5, seed))


def test_the_same_records_are_chosen_on_any_machine() -> None:
    assert chosen(1000, 4, 0) == ["r40", "r186", "r402", "r993"]
    assert chosen(1000, 4, 1) != chosen(1000, 4, 0)


@given(st.integers(0, 12), st.integers(1, 4), st.none() | st.integers(1, 8), st.data())
def test_what_is_passed_over_and_what_is_read_add_up(
    of: int, times: int, sample: int | None, data: st.DataObject
) -> None:
    expected = all_of(derived(source(of), sample=sample, seed=3, repeat=times))
    assert expected == [record for record in dict.fromkeys(expected) for _ in range(times)]
    some = derived(source(of), sample=sample, seed=3, repeat=times)
    assert isinstance(some, Derived)
    place, found = 0, []
    while True:
        limit = data.draw(st.integers(1, 9))
        if data.draw(st.booleans()):
            passed = some.skip(limit)
            assert passed <= limit
            place += passed
            if not passed:
                break
        else:
            entries = some.read(limit)
            if not entries:
                break
            found += [(place + number, entry.value) for number, entry in enumerate(entries)]
            place += len(entries)
    assert place == len(expected)
    assert all(expected[at] == value for at, value in found)
