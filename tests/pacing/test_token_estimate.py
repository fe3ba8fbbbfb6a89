"""Estimates of a request's tokens, before and after usage is reported."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.pacing.token_estimate import BLOB_TOKENS, estimated


@given(st.text(max_size=200), st.integers(1, 60))
def test_text_weighs_a_token_for_four_bytes(words: str, times: int) -> None:
    body = f'{{"content":"{words} ü "}}'.encode() * times
    assert estimated(body) == len(body) // 4 + 1


@given(st.lists(st.integers(3072, 200_000), max_size=4), st.text("ab {}", max_size=50))
def test_what_is_attached_weighs_what_it_shows(sizes: list[int], text: str) -> None:
    blobs = [base64.b64encode(bytes(size)) for size in sizes]
    body = b'","'.join([text.encode(), *blobs])
    weight = estimated(body)
    assert len(sizes) * BLOB_TOKENS <= weight <= len(text) + 10 + sum(max(BLOB_TOKENS, s // 32) for s in sizes)
