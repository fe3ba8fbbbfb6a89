"""`report DIR/`: adds up a run of parts, by the summaries of complete parts and the lines of the others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llmbatch.app.report import report as report_files
from llmbatch.parts.folder import RunFolder, is_run_folder, results_in, runs_in
from llmbatch.parts.summary import stats_of
from llmbatch.results.stats import StatsByModel

__all__ = ["report"]


def report(
    names: Sequence[str],
    *,
    notice: Callable[[str], None],
    also: Callable[[dict[str, Any]], None] | None = None,
    check: bool = False,
) -> StatsByModel:
    """Count the results of files and of folders; `also` sees each line.

    With `check` the lines of complete parts are read, too. Raises InputError, UsageError.
    """
    names = runs_in(names)
    if check or also is not None or not any(map(is_run_folder, names)):
        return report_files(results_in(names), notice=notice, also=also)
    book, files = StatsByModel(), []
    for name in names:
        if is_run_folder(name):
            summaries, unfinished = _parts(RunFolder(Path(name)), notice)
            book.include(stats_of(summaries))
            files += unfinished
        else:
            files.append(name)
    if files:
        book.include(report_files(files, notice=notice))
    return book


def _parts(folder: RunFolder, notice: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the summaries of complete parts, and the results files of the others."""
    plan, complete = folder.plan(), folder.complete()
    assert plan is not None
    everything = range(len(plan.parts))
    if len(complete) < len(plan.parts):
        notice(f"{folder.path}/: {len(complete):,} of {len(plan.parts):,} parts are complete")
    others = [str(folder.results(n)) for n in everything if n not in complete and folder.results(n).exists()]
    return [folder.read_summary(number, plan) for number in everything if number in complete], others
