"""Digests name what they are made of."""

import json
import subprocess
import sys

from hypothesis import assume, example, given
from hypothesis import strategies as st

from llmbatch.codec.digest import digest, digest_after

PARTS = st.lists(st.binary(max_size=6) | st.sampled_from([b"", b"1:", b"1:a", b"a", b"1:a1:b"]), max_size=4)


@given(PARTS, PARTS)
@example([b"ab", b"c"], [b"a", b"bc"])
@example([b"", b"a"], [b"a", b""])
@example([b"1:a1:b"], [b"a", b"b"])
@example([], [b""])
def test_no_two_lists_of_parts_share_a_digest(a: list[bytes], b: list[bytes]) -> None:
    assume(a != b)
    assert digest(*a) != digest(*b)


@given(PARTS)
def test_a_digest_is_32_hexadecimal_digits_and_always_the_same(parts: list[bytes]) -> None:
    assert len(digest(*parts)) == 32 and int(digest(*parts), 16) >= 0 and digest(*parts) == digest(*parts)


@given(st.lists(st.binary(), min_size=1), st.binary())
def test_parts_hashed_before_count_as_if_hashed_along(before: list[bytes], last: bytes) -> None:
    after = digest_after(*before)
    assert after(last) == after(last) == digest(*before, last)


def test_tables_are_keyed_anew_in_each_process_and_fingerprints_are_not() -> None:
    program = """
from llmbatch.codec.digest import FINGERPRINT, SCATTER, record_name
name = record_name("a", "r")
print([SCATTER, name >> 64, name & FINGERPRINT])
"""
    command = [sys.executable, "-I", "-c", program]  # -I: no seed from the environment
    one, other = (json.loads(subprocess.check_output(command)) for _ in range(2))
    assert one[0] % 2 == other[0] % 2 == 1 and one[0] != other[0]
    assert one[1] != other[1]
    assert one[2] == other[2]
