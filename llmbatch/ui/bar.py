"""A progress bar for programs and notebooks: tqdm's where it is installed, else rich's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

from llmbatch.core.snapshot import Snapshot

__all__ = ["bar"]


@contextmanager
def bar() -> Iterator[Callable[[Snapshot], None]]:
    """Show a bar while the context lasts; yield what moves it."""
    try:
        tqdm = import_module("tqdm.auto").tqdm
    except ImportError:
        with _rich() as move:
            yield move
        return
    with tqdm(unit=" records") as shown:

        def move(now: Snapshot) -> None:
            shown.total = now.total
            shown.set_postfix(failed=now.failed, refresh=False)
            shown.n = now.finished
            shown.refresh()

        yield move


@contextmanager
def _rich() -> Iterator[Callable[[Snapshot], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("records", total=None, failed=0)
        yield lambda now: progress.update(task, total=now.total, completed=now.finished, failed=now.failed)
