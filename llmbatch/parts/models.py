"""Several models side by side with `--part-size`: each has a folder of parts, and processes that work on them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

from llmbatch.app.joined_runs import joined_snapshot, joined_summary
from llmbatch.app.session import View
from llmbatch.app.side_by_side import ModelRun
from llmbatch.core.errors import LlmbatchError
from llmbatch.core.ports import Observer
from llmbatch.core.snapshot import Snapshot
from llmbatch.core.tally import Summary
from llmbatch.core.thread import start_thread
from llmbatch.parts.processes import noting_signals
from llmbatch.parts.run import PartsRun

__all__ = ["run_models_in_parts"]

_LOOKS = 0.5
"""Seconds between two looks at a thread, between which signals are handled."""


def run_models_in_parts(
    runs: Sequence[ModelRun],
    environment: Mapping[str, str],
    *,
    observers: Callable[[str], Sequence[Observer]] = lambda name: (),
    view: View | None = None,
) -> Summary:
    """Work on the parts of all models at once until each has ended; `observers` makes those of a run by its name.

    Raises LlmbatchError for what is wrong with any of them before the first request of the first. Blocks, and handles
    the signals meanwhile.
    """
    folder = runs[0].settings.output.folder
    assert folder is not None
    folder.parent.mkdir(parents=True, exist_ok=True)
    parts = {run.name: PartsRun(run.settings, run.servers, environment, observers(run.name)) for run in runs}

    def tell(signum: int) -> None:
        for one in parts.values():
            one.signals.append(signum)

    def snapshots() -> Snapshot:
        return joined_snapshot({name: one.progress.snapshot() for name, one in parts.items()})

    with nullcontext() if view is None else view(snapshots), noting_signals(tell):
        working = [_Working(one) for one in parts.values()]
        for one in working:
            one.wait()
    return joined_summary({name: one.summary() for name, one in parts.items()})


class _Working:
    """A thread that has the parts of one model worked on."""

    def __init__(self, run: PartsRun) -> None:
        self._run = run
        self._ended = threading.Event()
        self._bug: Exception | None = None
        start_thread(self._work)

    def wait(self) -> None:
        """Wait for its end. Raises what was a bug in it."""
        while not self._ended.wait(_LOOKS):
            pass
        if self._bug is not None:
            raise self._bug

    def _work(self) -> None:
        try:
            with self._run.servers_ready():
                self._run.side_by_side()
        except LlmbatchError as error:
            self._run.account.stop(error)
        except Exception as error:
            self._bug = error
        finally:
            self._ended.set()
