"""Which encoding a file of text has."""

import codecs

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmbatch.codec.text import HEAD, decode_text, wide_encoding

WIDE = ("UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE")
TEXTS = (
    "Why is the sky blue?\r\nName a river.\r\n",
    '{"id": 1, "prompt": "Größe, naïve, Ω"}\n',
    "id,prompt\n1,Почему небо голубое?\n",
    "Почему небо голубое? Назови реку.\n" * 3,
    "为什么天空是蓝色的？说出一条河的名字。\n" * 3,
    "[]",
    "sk-0123456789",
)


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("text", TEXTS)
def test_wide_text_is_named_with_and_without_a_mark_however_it_is_cut(text: str, encoding: str) -> None:
    for written in (text.encode(encoding), ("\ufeff" + text).encode(encoding)):
        assert wide_encoding(written) == encoding
        assert wide_encoding((written * 999)[:HEAD]) == encoding
        assert wide_encoding(written[:-1]) == encoding
        if 2 * sum(character.isascii() for character in text[:6]) >= 6:
            assert {wide_encoding(written[:size]) for size in range(24, len(written))} <= {encoding}


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
@example("﷐" * 50)
def test_text_in_utf_8_is_never_taken_for_wide(text: str) -> None:
    assert wide_encoding(text.encode()) is None
    assert decode_text(codecs.BOM_UTF8 + text.encode()) == text


@pytest.mark.parametrize("head", [b"", b"\0", b"plain\0text\n", b"caf\xe9\n", "ключ\0знач\n".encode(), b"\0" * 64])
def test_a_stray_nul_makes_no_wide_text(head: bytes) -> None:
    assert wide_encoding(head) is None


def test_what_is_not_utf_8_says_where() -> None:
    with pytest.raises(ValueError, match=r"line 2, byte 0xe9"):
        decode_text(b"fine\ncaf\xe9")
    with pytest.raises(ValueError, match="UTF-16LE"):
        decode_text("key".encode("utf-16-le"))
