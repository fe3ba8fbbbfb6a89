"""How often something was there before."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.input.occurrences import Occurrences, RecentOccurrences

HASH = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)


@given(st.lists(HASH, max_size=300))
def test_counts_like_a_counter(hashes):
    seen, counter = Occurrences(), Counter()
    for hashed in hashes:
        assert seen.add(hashed) == counter[hashed]
        counter[hashed] += 1
    assert all(seen.count(hashed) == times for hashed, times in counter.items())


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 40))
def test_remembers_at_least_the_latest(hashes, limit):
    seen, counter = RecentOccurrences(limit=limit), Counter()
    for place, hashed in enumerate(hashes):
        before = seen.add(hashed)
        assert before <= counter[hashed]
        if hashed in hashes[max(0, place - limit) : place]:
            assert before == counter[hashed] if limit > 31 else before >= 1
        counter[hashed] += 1


def test_growth_keeps_everything_in_few_bytes_and_crowds_nothing():
    hashes = [hash(f"s{number}") for number in range(100_000)]
    seen = Occurrences()
    assert not any(map(seen.add, hashes))
    assert 12 <= sum(map(len, seen._parts)) * 8 / len(hashes) <= 26
    assert [seen.add(hashed) for hashed in hashes] == [1] * len(hashes)
    runs = "".join("x" if slot else " " for part in seen._parts for slot in part).split()
    assert max(map(len, runs)) < 300


def test_old_generations_are_forgotten():
    seen = RecentOccurrences(limit=100)
    assert not any(seen.add(number << 32) for number in range(1, 1001))
    assert seen.add(1 << 32) == 0
    assert seen.add(1000 << 32) == 1


def test_counts_are_carried_into_the_next_generation():
    seen = RecentOccurrences(limit=3)
    assert [seen.add(number) for number in (7, 7, 7, 8, 9)] == [0, 1, 2, 0, 0]
    assert [seen.add(7), seen.add(7), seen.add(8), seen.add(7)] == [3, 4, 1, 5]
