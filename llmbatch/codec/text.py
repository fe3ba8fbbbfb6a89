"""Decodes UTF-8 text from files: drops a byte order mark, recognises UTF-16 and UTF-32."""

import codecs
from collections.abc import Iterator

__all__ = ["HEAD", "LONGEST_MARK", "MARKS", "decode_text", "wide_encoding"]

HEAD = 4096
"""Bytes of a file that are enough to tell its encoding."""

MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32LE",  # before UTF-16, whose mark is the beginning of this one
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}
"""Byte order marks, and the encodings that they are of."""

LONGEST_MARK = max(map(len, MARKS))


def decode_text(data: bytes) -> str:
    """Decode the content of a file. Raises ValueError, whose text completes "the file …"."""
    encoding = wide_encoding(data[:HEAD])
    if encoding is not None:
        raise ValueError(f"is {encoding} text, not UTF-8")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8 text (line {line}, byte 0x{data[error.start]:02x})") from None


def wide_encoding(head: bytes) -> str | None:
    """Name the encoding of a text by its beginning, if it is UTF-16 or UTF-32, with or without a byte order mark."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    if b"\0" not in head:
        return None
    # An encoding in which most is ASCII is surer than one whose letters would be foreign.
    return next((name for ascii in (True, False) for name in MARKS.values() if _fits(head, name, ascii=ascii)), None)


def _fits(head: bytes, name: str, *, ascii: bool) -> bool:
    """Say whether bytes without a mark read better in a wide encoding than as UTF-8: as ASCII or as other letters."""
    try:
        text = codecs.getincrementaldecoder(name)().decode(head)  # an incomplete character at the end does not matter
    except UnicodeDecodeError:
        return False
    newlines = head.count(b"\n", 0, len(head) - len(head) % 4)
    if not text or not _is_readable(text) or 2 * text.count("\n") < newlines:
        return False
    if ascii:
        return 2 * sum(character < "\x80" for character in text) >= len(text)
    # Foreign letters, like Cyrillic: as UTF-8 they are control characters or nothing at all.
    return not all(_is_readable(part) for part in _as_utf8(head))


def _as_utf8(head: bytes) -> Iterator[str]:
    """Yield the texts between NUL characters; a control character stands for bytes that are not UTF-8."""
    for part in head.split(b"\0"):
        yield part.decode(errors="replace").replace("\N{REPLACEMENT CHARACTER}", "\x01")


def _is_readable(text: str) -> bool:
    return not any(character < " " and character not in "\t\n\r\f" for character in text)
