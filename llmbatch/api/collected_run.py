"""Collects the results of a run: all of them, or those that came before it was interrupted."""

import asyncio
import signal
from typing import cast

import anyio

from llmbatch.api.background_run import BackgroundRun, Records
from llmbatch.api.options import Options
from llmbatch.api.result import Result, RunSummary
from llmbatch.api.run_result import Run
from llmbatch.app.session import View
from llmbatch.core.errors import Interrupted

__all__ = ["CollectedRun"]


class CollectedRun:
    """A run whose results are kept in memory. They are paid for, so an interrupt does not lose them."""

    def __init__(self, records: Records, options: Options) -> None:
        self._records, self._options = records, options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._live: BackgroundRun | None = None
        self._results: list[Result] = []

    async def work(self, view: View | None) -> None:
        """Run to the end. Being cancelled drops what is in flight. Raises UsageError for bad options."""
        self._loop = asyncio.get_running_loop()
        self._live = live = BackgroundRun(self._records, self._options, tee=False, view=view)
        task = asyncio.create_task(live.work())
        try:
            await self._take(live)
            await asyncio.shield(task)
        finally:
            await self._interrupt()
            with anyio.CancelScope(shield=True):
                await self._take(live)
                await asyncio.wait([task])

    def interrupt(self) -> None:
        """End the run, from any thread: drop what is in flight."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._interrupt(), self._loop)

    def so_far(self) -> Run | None:
        """Return the run with the results that came, in the order of the records; None if it did not begin."""
        if self._live is None:
            return None
        summary = self._live.summary.as_json() if self._live.summary is not None else {}
        results = sorted(self._results, key=lambda result: result["index"])
        return Run(cast(RunSummary, summary), results, self._live.settings.output.path)

    def ended(self) -> Run:
        """Return the run. Raises what prevented it or ended it early, with the results that came."""
        run = self.so_far()
        assert run is not None and self._live is not None
        self._live.raise_failure(run)
        return run

    async def _interrupt(self) -> None:
        assert self._live is not None
        self._live.interrupt(Interrupted(signal.SIGINT))

    async def _take(self, live: BackgroundRun) -> None:
        while some := await live.queue.take():
            self._results += some
