"""The run that `llmbatch.run` returns: a sequence of results with a summary, a table in notebooks and for pandas."""

from collections.abc import Iterator
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, cast, overload

from llmbatch.api.result import Result, RunSummary
from llmbatch.core.errors import UsageError
from llmbatch.parts.folder import results_in
from llmbatch.results.reader import open_results

__all__ = ["Run"]

_SHOWN = 20
"""Results in the table of a notebook."""
_LONGEST = 300
"""Characters of an answer there."""


class Run:
    """A run that is over. `summary` is that of `--summary json`; iterating yields the results.

    Without a results file the results are in the order of the records. With one, each iteration reads
    the file, which has the results of earlier runs too, and so does a look at one result or their number.
    """

    def __init__(self, summary: RunSummary, results: list[Result], path: Path | None) -> None:
        self.summary = summary
        self._results = results
        self._path = path

    def __iter__(self) -> Iterator[Result]:
        if self._path is None:
            yield from self._results
            return
        for name in results_in([str(self._path)]):
            with open_results([name]) as (file,):
                for line in file.results():
                    yield cast(Result, line)

    def __len__(self) -> int:
        return len(self._results) if self._path is None else sum(1 for _ in self)

    @overload
    def __getitem__(self, place: int) -> Result: ...
    @overload
    def __getitem__(self, place: slice) -> list[Result]: ...
    def __getitem__(self, place: int | slice) -> Result | list[Result]:
        results = self._results if self._path is None else list(self)
        return results[place]

    def to_pandas(self) -> Any:
        """Return a DataFrame with a row for each result. Raises UsageError where there is no pandas."""
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise UsageError("to_pandas needs pandas", "pip install pandas") from None
        return pandas.DataFrame.from_records([dict(result) for result in self])

    def __repr__(self) -> str:
        return f"<Run {self.summary.get('ok', 0)} ok, {self.summary.get('failed', 0)} failed>"

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows: the first results."""
        rows = []
        for number, result in enumerate(self):
            if number == _SHOWN:
                rows.append("<tr><td colspan=4>…</td></tr>")
                break
            fields: dict[str, Any] = dict(result)
            error = fields.get("error")
            text = error.get("message") if isinstance(error, dict) else fields.get("text")
            cells = (fields.get("id"), fields.get("status"), fields.get("model"), str(text or "")[:_LONGEST])
            rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
        head = "<tr><th>id</th><th>status</th><th>model</th><th>text</th></tr>"
        return f"<p>{escape(repr(self))}</p><table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
