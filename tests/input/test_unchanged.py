"""A second pass over an input gets the bytes of the first one, or an error."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.errors import InputError
from llmbatch.input.unchanged import Contents, Watch

PIECES = st.lists(st.binary(min_size=1, max_size=5), max_size=8)


def first_pass(*inputs: list[bytes]) -> Contents:
    contents = Contents()
    for pieces in inputs:
        watch = contents.record("in")
        assert [watch(piece) for piece in [*pieces, b""]] == [*pieces, b""]
    return contents


def read(watch: Watch, pieces: list[bytes]) -> bytes:
    return b"".join(map(watch, [*pieces, b""]))


def cut_up(whole: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place for place in at if 0 < place < len(whole)} | {0, len(whole)})
    return [whole[a:b] for a, b in pairwise(places)]


@given(PIECES, st.lists(st.integers(1, 40)), st.binary(max_size=9))
def test_the_same_bytes_pass_however_they_are_cut_up_and_without_what_was_added(
    pieces: list[bytes], cuts: list[int], added: bytes
) -> None:
    watch = first_pass(pieces).compare()("in")
    assert read(watch, cut_up(b"".join(pieces) + added, cuts)) == b"".join(pieces)


@given(PIECES.filter(bool), st.data())
def test_another_byte_is_noticed_wherever_it_is(pieces: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(pieces))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InputError, match="in is not what it was"):
        read(first_pass(pieces).compare()("in"), cut_up(bytes(whole), data.draw(st.lists(st.integers(1, 40)))))


@given(PIECES.filter(bool), st.data())
def test_missing_bytes_are_noticed_at_the_end(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    shorter = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(InputError, match="in is not what it was"):
        read(first_pass(pieces).compare()("in"), [shorter] if shorter else [])


def test_inputs_are_compared_each_with_its_own_and_one_too_many_is_noticed() -> None:
    contents = first_pass([b"a"], [b"b"])
    for _ in range(2):
        watch = contents.compare()
        assert [read(watch("1"), [b"a"]), read(watch("2"), [b"b"])] == [b"a", b"b"]
        with pytest.raises(InputError, match="3 is not"):
            watch("3")
