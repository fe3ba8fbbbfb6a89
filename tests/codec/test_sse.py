"""Server-sent events, as the standard has them and as servers write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.codec.json import first_value
from llmbatch.codec.sse import MOST_LINES, events, looks_like_events


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (b"data: a\n\ndata: b\n\n", [("message", b"a"), ("message", b"b")]),
        (b"event: e\ndata: a\ndata: b\n\n", [("e", b"a\nb")]),
        (b"data: a", [("message", b"a")]),
        (b"data:\n\ndata: \n\n: ping\n\nid: 7\n\nretry: 5\n\n", []),
        (b"event: error\n\n", [("error", b"")]),
        (b"event: e\n\ndata: a\n\n", [("message", b"a")]),
        (b'{"error": 1}\n', [("message", b'{"error": 1}')]),
        (b'data: a\n{"error": 1}\n', [("message", b"a"), ("message", b'{"error": 1}')]),
        (b'event: error\n{"a": 1}\n\ndata: b\n\n', [("error", b'{"a": 1}'), ("message", b"b")]),
        (b'{\n  "a": [\n\n  1]\n}\ndata: b\n\n', [("message", b'{\n  "a": [\n\n  1]\n}'), ("message", b"b")]),
        (b'{"a": 1}\n{"a": 2}\n', [("message", b'{"a": 1}'), ("message", b'{"a": 2}')]),
        (b'{"a": ', [("message", b'{"a": ')]),
        (b"[DONE]\n", [("message", b"[DONE]")]),
        (b"data: data: a\n\n", [("message", b"a")]),
        (b"data: a\n\n data: b\n\n\tDATA:c\n\n", [("message", b"a"), ("message", b"b"), ("message", b"c")]),
        (b"event: done\ndata:\n\n", [("done", b"")]),
    ],
)
def test_a_stream_is_cut_into_its_events(stream: bytes, found: list[tuple[str, bytes]]) -> None:
    assert list(events(stream)) == found


def test_a_stream_of_nothing_but_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="lines"):
        list(events(b"\n" * (MOST_LINES + 1)))


@pytest.mark.parametrize("body", [b"data: a", b"data:a", b":\n", b": x", b"\n\nid: 1", b"retry: 1", b"event: e"])
def test_a_stream_is_known_by_how_it_begins(body: bytes) -> None:
    assert looks_like_events(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_json_begins_like_a_stream_and_what_follows_it_is_found(value: object) -> None:
    written = json.dumps(value).encode()
    assert not looks_like_events(written)
    assert first_value(b" " + written + b"\n\ndata: [DONE]\n\n") == (value, b"\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize("text", [b"", b"{", b"nope", b"\xff", b'{"a":NaN}', b"[" * 100_000])
def test_what_begins_with_no_json_has_no_first_value(text: bytes) -> None:
    with pytest.raises(ValueError):
        first_value(text)
