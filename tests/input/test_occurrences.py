"""How often something was there before."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.input.occurrences import Occurrences, RecentOccurrences

FINGERPRINT = st.integers(0, 2**64 - 1) | st.integers(0, 5) | st.integers(2**64 - 5, 2**64 - 1)


@given(st.lists(FINGERPRINT, max_size=300))
def test_counts_like_a_counter(fingerprints):
    seen, counter = Occurrences(), Counter()
    for fingerprint in fingerprints:
        assert seen.add(fingerprint) == counter[fingerprint]
        counter[fingerprint] += 1


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 40))
def test_remembers_at_least_the_latest(fingerprints, limit):
    seen, counter = RecentOccurrences(limit=limit), Counter()
    for place, fingerprint in enumerate(fingerprints):
        before = seen.add(fingerprint)
        assert before <= counter[fingerprint]
        if fingerprint in fingerprints[max(0, place - limit) : place]:
            assert before == counter[fingerprint] if limit > 31 else before >= 1
        counter[fingerprint] += 1


def test_growth_keeps_everything_in_few_bytes():
    fingerprints = [random.Random(7).getrandbits(64) for _ in range(1)] + [
        number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1, 100_000)
    ]
    seen = Occurrences()
    assert not any(map(seen.add, fingerprints))
    assert 18 <= sum(map(len, seen._parts)) * 12 / len(fingerprints) <= 39
    assert [seen.add(fingerprint) for fingerprint in fingerprints] == [1] * len(fingerprints)


def test_old_generations_are_forgotten():
    seen = RecentOccurrences(limit=100)
    assert not any(seen.add(number << 32) for number in range(1, 1001))
    assert seen.add(1 << 32) == 0
    assert seen.add(1000 << 32) == 1


def test_counts_are_carried_into_the_next_generation():
    seen = RecentOccurrences(limit=3)
    assert [seen.add(number) for number in (7, 7, 7, 8, 9)] == [0, 1, 2, 0, 0]
    assert [seen.add(7), seen.add(7), seen.add(8), seen.add(7)] == [3, 4, 1, 5]


def test_names_that_share_a_fingerprint_are_told_apart():
    seen = Occurrences()
    names = [fingerprint | check << 64 for fingerprint in (0, 1, 2**64 - 1) for check in range(1, 500)]
    assert not any(map(seen.add, names))
    assert [seen.count(name) for name in names] == [1] * len(names) and seen.count(5 << 64 | 7) == 0


def test_fingerprints_that_share_the_bits_of_a_shard_do_not_crowd():
    for shift, low in ((10, 77), (0, 0)):
        seen = Occurrences()
        for number in range(30_000):
            seen.add((number * 0x9E3779B97F4A7C15 << shift | low) & 2**64 - 1)
        runs = "".join("x" if slot else " " for part in seen._parts for slot in part).split()
        assert max(map(len, runs)) < 300
