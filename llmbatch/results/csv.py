"""Writes CSV and TSV that every reader splits alike and no spreadsheet takes for a formula.

Values are quoted by RFC 4180. Quoting does not keep a spreadsheet from running `=HYPERLINK(…)`, a leading apostrophe
does (OWASP ASVS 1.2.10); it is put before text that begins like a formula, never before numbers. Lines end in a newline
alone, which pipes and spreadsheets accept.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from llmbatch.codec import json

__all__ = ["COLUMNS", "MARK", "META", "Columns", "cell", "row"]

COLUMNS = (
    "id",
    "status",
    "text",
    "finish_reason",
    "model",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "error_kind",
    "error_message",
    "attempts",
    "latency_s",
)
META, JSON = "meta.", "json."
"""Prefixes of the columns for the fields of a record's meta, and of its answer as JSON."""
MARK = b"\xef\xbb\xbf"
"""The byte order mark by which Excel knows UTF-8."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")
_QUOTED = {
    ",": re.compile('[",\r\n\0]|^[ \t]|[ \t]$'),
    "\t": re.compile('["\t\r\n\0]|^ | $'),
}
"""What must be quoted, by delimiter."""


class Columns(NamedTuple):
    """The columns of a table: `COLUMNS`, with `sample` behind the id if lines have it, fields of `json` and of meta."""

    meta: Sequence[str]
    answer: Sequence[str] = ()
    sampled: bool = False

    def names(self) -> list[str]:
        """Return the names of all columns."""
        id, *rest = COLUMNS
        sample = ["sample"] if self.sampled else []
        answer, meta = (f"{JSON}{name}" for name in self.answer), (f"{META}{name}" for name in self.meta)
        return [id, *sample, *rest, *answer, *meta]

    def row(self, line: dict[str, Any]) -> list[Any]:
        """Return the values of one result line. No field is trusted to have the right type."""
        usage, error, meta, answer = (_object(line.get(name)) for name in ("usage", "error", "meta", "json"))
        return [
            line.get("id"),
            *([line.get("sample")] if self.sampled else ()),
            line.get("status"),
            line.get("text"),
            line.get("finish_reason"),
            line.get("model"),
            usage.get("input_tokens"),
            usage.get("output_tokens"),
            line.get("cost_usd"),
            error.get("kind"),
            error.get("message"),
            line.get("attempts"),
            line.get("latency_s"),
            *(answer.get(name) for name in self.answer),
            *(meta.get(name) for name in self.meta),
        ]


def row(values: Iterable[Any], delimiter: str = ",", *, safe: bool = True) -> bytes:
    """Encode one row, newline included; the delimiter is a comma or a tab. `safe` for spreadsheets."""
    must_be_quoted = _QUOTED[delimiter].search
    cells = [_quoted(text) if must_be_quoted(text := cell(value, safe=safe)) else text for value in values]
    return (delimiter.join(cells) + "\n").encode("utf-8", "replace")


def cell(value: Any, *, safe: bool = True) -> str:
    """Write a JSON value as the text of a cell: null as nothing, arrays and objects as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if safe and value.startswith(_FORMULA) else value
    return json.dumps(value).decode()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
