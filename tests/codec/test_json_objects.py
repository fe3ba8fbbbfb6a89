"""Objects are found in JSON text whatever stands between them and wherever the pieces end."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.codec.json_objects import outermost_objects

VALUES = st.recursive(
    st.one_of(st.integers(), st.text('{}[]",\\a\n', max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text('{}"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=5)


@given(OBJECTS, st.sampled_from(["array", "lines", "none"]), st.sampled_from([None, 1]), st.integers(1, 9))
def test_every_object_is_found_whole_and_in_order(
    objects: list[dict[str, Any]], between: str, indent: int | None, size: int
) -> None:
    texts = [json.dumps(one, indent=indent) for one in objects]
    text = (
        json.dumps(objects, indent=indent)
        if between == "array"
        else "\n".join(texts)
        if between == "lines"
        else "".join(texts)
    ).encode()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert [json.loads(found) for found in outermost_objects(pieces)] == objects


def test_an_object_that_is_cut_off_comes_last() -> None:
    assert list(outermost_objects([b'[{"a": 1}, {"b": ', b'"}'])) == [b'{"a": 1}', b'{"b": "}']
