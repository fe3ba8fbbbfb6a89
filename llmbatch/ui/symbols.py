"""The characters beyond ASCII that the program shows, and their replacements on a terminal with ASCII alone."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["ASCII", "UNICODE", "Symbols", "symbols_for"]


class Symbols(NamedTuple):
    """`bars` are the heights of a histogram, from nothing to full; `filled` and `empty` make up a progress bar."""

    good: str
    bad: str
    open: str
    dot: str
    ellipsis: str
    bars: str
    filled: str
    empty: str


UNICODE = Symbols("✓", "✗", "•", " · ", "…", " ▁▂▃▄▅▆▇█", "━", "─")
ASCII = Symbols("ok:", "failed:", "open:", ", ", "...", " .:-=+*#@", "#", "-")


def symbols_for(environ: Mapping[str, str]) -> Symbols:
    """Choose by the locale that the environment names.

    `LC_CTYPE=C.UTF-8` is no choice of the user's where nothing else names UTF-8: CPython sets it itself when the
    locale is C (PEP 538).
    """
    named = [environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    if environ.get("LC_CTYPE") == "C.UTF-8" and not environ.get("LC_ALL"):
        named[1] = ""
    locale = next((value for value in named if value), "")
    return UNICODE if "utf-8" in locale.lower() or "utf8" in locale.lower() else ASCII
