"""Patterns for the names and words of error answers, and both as the patterns read them.

Names (codes and types) are compared without case and punctuation and with a space around each, so that
`DataInspectionFailed` and `data_inspection_failed` are one and ` 1113 ` is that code alone. Words are compared in lower
case, without what a message quotes.
"""

import re
from collections.abc import Callable
from functools import cached_property

__all__ = ["Wording", "label", "labelled", "unquoted"]

_PUNCTUATION = re.compile(r"[^a-z0-9]+")
_QUOTED = re.compile(r"""(?<!\w)'(?:[^']|(?<=\w)'(?=\w))*'(?!\w)|"[^"]*"|`[^`]*`|“[^”]*”|«[^»]*»""")
_PLAIN = re.compile(r".[\w.]*.")


def label(name: str) -> str:
    """Return a name as patterns read it."""
    return _PUNCTUATION.sub("", name.lower())


def labelled(*names: str | None) -> str:
    """Return names as patterns read them, with a space around each."""
    return f" {' '.join(dict.fromkeys(label(name) for name in names if name))} "


def unquoted(message: str) -> str:
    """Return a message as patterns read it: one line in lower case, without what it quotes.

    A quotation of one plain word stays, since it is a field. So do the quotes of JSON, since an error that is quoted in
    full is no prompt.
    """
    text = message.lower()
    if '{"' not in text and "{'" not in text:
        text = _QUOTED.sub(lambda quoted: quoted[0] if _PLAIN.fullmatch(quoted[0]) else "_", text)
    return " ".join(text.split())


class Wording:
    """Alternatives, any of which may stand in a text.

    They are compiled when they are first looked for: most runs meet no error, and compiling all of them would take a
    large part of the start-up.
    """

    def __init__(self, *alternatives: str) -> None:
        self.pattern = "|".join(alternatives)

    @cached_property
    def search(self) -> Callable[[str], re.Match[str] | None]:
        """Return the search for them, as a compiled pattern has it."""
        return re.compile(self.pattern).search
