"""JSON in and out, exact."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.codec.json import DEEPEST, DEEPEST_STANDARD, MOST, canonical, dumps, loads, loads_shallow

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**130), 2**130)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert loads(dumps(value)) == value


@given(JSON)
def test_what_is_written_is_what_everybody_reads_on_one_line(value: Any) -> None:
    line = dumps(value)
    assert json.loads(line) == value and b"\n" not in line


@given(st.integers(-(10**60), 10**60))
def test_integers_of_any_size_are_exact(number: int) -> None:
    again = loads(b'{"n":%d}' % number)["n"]
    assert (again, type(again)) == (number, int)


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**18, 10**19])
def test_integers_around_64_bits_are_exact(number: int) -> None:
    assert loads(b"[%d]" % number) == [number] and dumps([number]) == b"[%d]" % number


def shuffled(value: Any) -> Any:
    """Write every object in the opposite order."""
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_the_canonical_form_does_not_depend_on_the_order_of_fields(value: Any) -> None:
    assert canonical(value) == canonical(shuffled(value))


@given(JSON)
def test_the_canonical_form_means_the_same(value: Any) -> None:
    assert loads(canonical(value)) == value


@given(JSON, JSON)
def test_different_values_have_different_canonical_forms(a: Any, b: Any) -> None:
    assert (canonical(a) == canonical(b)) is (json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True))


def test_the_order_of_fields_is_kept_when_not_asked_otherwise() -> None:
    assert dumps({"b": 1, "a": 2**70}) == b'{"b":1,"a":1180591620717411303424}'


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"NaN",
        b"[Infinity]",
        b'"\\ud800"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"[1,]",
        b"{'a':1}",
        b"1e999",
        b"[1e999,123456789012345678901]",
        b"[" * 1025 + b"]" * 1025,
        b"[" * (DEEPEST_STANDARD + 1) + b"123456789012345678901" + b"]" * (DEEPEST_STANDARD + 1),
        b"[" * 1020 + b"123456789012345678901" + b"]" * 1020,
    ],
)
def test_what_is_not_strict_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)


def test_the_place_of_an_error_is_known() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        loads(b'{"a": 1,\n "b": }')
    assert caught.value.lineno == 2


@pytest.mark.parametrize("brackets", [b"[]", b"{}"])
def test_only_what_is_nested_too_deep_is_refused_as_too_deep(brackets: bytes) -> None:
    opening = brackets[:1] if brackets == b"[]" else b'{"a":'
    whole = opening * (DEEPEST - 1) + brackets + brackets[1:] * (DEEPEST - 1)
    assert dumps(loads_shallow(whole)) == whole
    with pytest.raises(ValueError, match="nested"):
        loads_shallow(opening + whole + brackets[1:])


def test_what_is_wide_is_not_deep() -> None:
    assert len(loads_shallow(b"[" + b"[]," * 5000 + b"[]]")) == 5001


def test_what_would_take_gigabytes_is_refused_unread() -> None:
    with pytest.raises(ValueError, match="1,000,000 lists and objects"):
        loads_shallow(b"[" + b"{}," * MOST + b"{}]")


@pytest.mark.parametrize("depth", [250, 500])
def test_records_as_deep_as_are_read_can_be_written(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    if depth > 250:
        value = value["a"][0]
    text = b"[" * depth + b"]" * depth
    assert loads(dumps(loads(text))) == loads(text)


def test_what_cannot_be_written_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        dumps({"a": object()})


def nested(levels: int) -> Any:
    value: Any = 2**70
    for _ in range(levels):
        value = [value]
    return value


def test_how_deep_a_value_may_be_does_not_hang_on_the_interpreter() -> None:
    deepest = nested(DEEPEST_STANDARD)
    assert loads(dumps(deepest)) == loads(canonical(deepest)) == deepest
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10 * limit)
    try:
        for write in (dumps, canonical):
            with pytest.raises(ValueError, match=f"deeper than {DEEPEST_STANDARD} levels"):
                write(nested(DEEPEST_STANDARD + 1))
    finally:
        sys.setrecursionlimit(limit)
