"""`report`: adds up results files, by model."""

from collections.abc import Callable, Sequence
from typing import Any

from llmbatch.app.table_names import results_of_table
from llmbatch.results.reader import open_results
from llmbatch.results.stats import StatsByModel

__all__ = ["report"]


def report(
    names: Sequence[str], *, notice: Callable[[str], None], also: Callable[[dict[str, Any]], None] | None = None
) -> StatsByModel:
    """Count the lines of all files as they are; `also` sees each of them. Raises InputError, UsageError."""
    book = StatsByModel()
    with open_results([results_of_table(name) for name in names]) as files:
        for file in files:
            book.files += 1
            if file.torn:
                notice(f"{file.name} ends in a piece of a line, which is not counted")
            for line in file.results():
                book.add(line)
                if also is not None:
                    also(line)
    return book
