"""Digests name what they are made of."""

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
