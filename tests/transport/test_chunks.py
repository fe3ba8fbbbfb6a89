"""Chunks that the parser refuses: their extensions are ignored, wherever the bytes are cut, and their sizes are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.transport.chunks import Chunks

EXTENSIONS = st.sampled_from([b"", b" ", b";", b"; a=b", b";a = b ", b' ; a="x y" ', b";a=b/c", b"\t;x"])


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=20), EXTENSIONS), max_size=4),
    EXTENSIONS,
    st.sampled_from([b"", b"Trailer: x\r\n", b"no colon\r\n"]),
    st.data(),
)
def test_chunks_are_joined_whatever_their_extensions_and_cuts(
    chunks: list[tuple[bytes, bytes]], last: bytes, trailer: bytes, data: st.DataObject
) -> None:
    wire = b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk, extension in chunks)
    wire += b"0" + last + b"\r\n" + trailer + b"\r\n"
    at = data.draw(st.integers(0, len(wire)))
    reader = Chunks()
    body = reader.feed(wire[:at])
    assert reader.ended == (at == len(wire))
    assert body + reader.feed(wire[at:]) == b"".join(chunk for chunk, _ in chunks)
    assert reader.ended


@pytest.mark.parametrize("wire", [b"zz\r\n", b"-2\r\n{}", b"0x5\r\n", b"\r\n", b"2\r\n{}}\r\n", b"f" * 16 + b"\r\n"])
def test_what_is_no_chunk_is_an_error(wire: bytes) -> None:
    with pytest.raises(ValueError):
        Chunks().feed(wire)
