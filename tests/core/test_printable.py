"""Text from others made safe to show."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.codec.json import dumps, loads
from llmbatch.core.printable import escape_line, printable

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
NASTY = "\x1b]0;x\x07\x9b31m\x7f\r\u2028\u2029\ufeff\u200b" + BIDI
TEXT = st.text() | st.text(alphabet=NASTY + "ab\n\t")


def acts_on_a_terminal(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Zl", "Zp") or char in BIDI


@given(TEXT)
def test_no_control_or_bidi_character_is_printed(text: str) -> None:
    assert not any(map(acts_on_a_terminal, printable(text)))


@given(TEXT, st.integers(1, 50))
def test_what_is_printed_is_no_longer_than_allowed(text: str, limit: int) -> None:
    assert len(printable(text, limit)) <= limit


@given(st.text(alphabet="abc äöü 漢字 🙂", max_size=300))
def test_ordinary_text_is_printed_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_text_that_is_cut_says_so() -> None:
    assert printable("abcdef", 4) == "abc…"


JSON = st.recursive(
    st.none() | st.integers(-(2**70), 2**70) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_an_escaped_line_is_the_same_json(value: Any) -> None:
    assert loads(escape_line(dumps(value) + b"\n")) == value


@given(JSON)
def test_an_escaped_line_holds_nothing_a_terminal_acts_on(value: Any) -> None:
    escaped = escape_line(dumps(value) + b"\n").decode()
    assert escaped.endswith("\n") and not any(map(acts_on_a_terminal, escaped[:-1]))


@pytest.mark.parametrize("char", [char for char in NASTY if not char.isprintable()])
def test_raw_text_becomes_safe_as_well(char: str) -> None:
    assert escape_line(f"a{char}b\tc\n".encode()).decode() == f"a\\u{ord(char):04x}b\tc\n"


def test_escaping_is_what_json_readers_undo() -> None:
    assert json.loads(escape_line('"\u202e\x7f"'.encode())) == "\u202e\x7f"
