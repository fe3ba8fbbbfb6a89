"""Pages made from result lines, and their figures as a reader sees them."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

from llmbatch.app.compare import compare
from llmbatch.results.highlights import Highlights
from llmbatch.results.stats import StatsByModel
from llmbatch.ui.compare_html import comparison_page
from llmbatch.ui.report_html import report_page
from tests.support.result_lines import put

__all__ = ["Page", "Report", "compared", "differing", "number", "report_of"]

UNITS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "%": 0.01}
QUANTITY = re.compile(r"\$?[\d,]*\.?\d+(?:e-?\d+)?(?: (?:ms|s|min|h)\b|%)?(?: \d+ (?:s|min)\b)?")


class Report(NamedTuple):
    """The page about some lines, and what `--format json` says about them."""

    page: bytes
    figures: dict[str, Any]


def report_of(lines: list[dict[str, Any]], name: str = "results.jsonl") -> Report:
    """Report on lines as if they stood in one file."""
    book, highlights = StatsByModel(), Highlights()
    book.files = 1
    for line in lines:
        book.add(line)
        highlights.add(line)
    return Report(report_page(book, highlights, [name]), book.as_json())


def compared(folder: Path, files: dict[str, list[dict[str, Any]]]) -> Report:
    """Compare lines as if they stood in files of these names, written into a folder."""
    paths = [put(folder / f"compared-{number}.jsonl", lines) for number, lines in enumerate(files.values())]
    found = compare({path: [path] for path in paths}, notice=print)
    found.names = [*files]
    return Report(comparison_page(found), found.as_json())


class Page(HTMLParser):
    """A page as it is read: its elements, their attributes, and its figures with the model each belongs to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.figures: list[tuple[str | None, str, str]] = []
        """The model or file, the names in `--format json`, the text."""
        self._of: str | None = None
        self._names: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.add(tag)
        self.attributes.update(found)
        if tag in ("tr", "section"):
            self._of = found.get("data-model")
        self._names = found.get("data-figure")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._of = None

    def handle_data(self, data: str) -> None:
        if self._names is not None:
            self.figures.append((self._of, self._names, data))
            self._names = None


def number(text: str) -> float:
    """Read a quantity as it is written on a page."""
    parts = re.findall(r"([\d,]*\.?\d+(?:e-?\d+)?) ?(ms|s|min|h|%)?", text)
    return sum(float(digits.replace(",", "")) * UNITS.get(unit, 1) for digits, unit in parts)


def differing(page: Page, figures: dict[str, Any], rows: dict[str, dict[str, Any]]) -> list[str]:
    """Say which figures of a page are not those of the JSON, as exactly as they are written."""
    found = []
    for of, names, text in page.figures:
        source = figures if of is None else rows.get(of)
        if source is None:
            found.append(f"{of} is not in the JSON")
            continue
        wanted = [sum(_value(source, part) for part in names.split("+"))] if "+" in names else None
        wanted = wanted or [_value(source, name) for name in names.split(" ")]
        seen = [text] if isinstance(wanted[0], str) else QUANTITY.findall(text)
        if len(seen) != len(wanted) or not all(map(_is, seen, wanted)):
            found.append(f"{names} of {of}: {text!r} instead of {wanted}")
    return found


def _value(source: Any, name: str) -> Any:
    """Return a value by its path; a name may contain the dot that separates others."""
    if name in source:
        return source[name]
    first, _, rest = name.partition(".")
    return _value(source[first], rest)


def _is(text: str, value: Any) -> bool:
    if isinstance(value, str):
        return text == value
    if isinstance(value, int):
        return text.replace(",", "") == str(value)
    smallest = 60 if re.search(r"\d h", text) else 0.5 if " min" in text else 0.00005 if "$" in text else 0.0
    if re.match(r"\$0\.0000?\d*[1-9]", text) and value < 0.001:
        smallest = value * 0.06
    return abs(number(text) - value) <= max(smallest, 0.006 if "$" in text and value >= 1 else 0, abs(value) * 0.0051)
