"""Makes text from others safe to show: models and ids must not control the terminal."""

import re

__all__ = ["escape_line", "printable"]

# C0 but newline and tab, DEL, C1; bidirectional controls and zero-width characters, which disguise text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def printable(text: str, limit: int = 300) -> str:
    """Replace what a terminal would act on, on one line of at most `limit` characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\n", " ").replace("\t", " "))


def escape_line(line: bytes) -> bytes:
    """Escape what a terminal would act on. Lines of JSON keep their meaning, and raw text becomes safe."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode()).encode()
