"""`stream` runs the engine in the event loop of the caller, `run` in a loop of its own."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from functools import partial
from typing import Unpack, cast

import anyio
from anyio.from_thread import start_blocking_portal

from llmbatch.api.background_run import BackgroundRun, Records, environment_of, event_log, hints, sources
from llmbatch.api.options import Options, settings_of
from llmbatch.api.result import Progress, Result, RunSummary
from llmbatch.api.run_result import Run
from llmbatch.app.servers import find_servers
from llmbatch.app.session import View
from llmbatch.app.timer import ticking
from llmbatch.core.errors import (
    ActionNeeded,
    CeilingReached,
    InputError,
    LlmbatchError,
    OutputBusy,
    OutputError,
    UsageError,
)
from llmbatch.core.snapshot import Snapshot
from llmbatch.parts.run import run_parts
from llmbatch.transport_process.event_loop import has_uvloop

__all__ = ["Records", "Run", "run", "stream"]

_log = logging.getLogger("llmbatch")

_EVERY = 0.2
"""Seconds between two looks at the progress."""


async def stream(records: Records, **options: Unpack[Options]) -> AsyncGenerator[Result, None]:
    """Send the records; yield a result for each as it comes, failed ones too. Needs asyncio.

    With `output` the results file is written as well, and the results of earlier runs in it come first. Closing the
    generator ends the run and drops requests in flight. Raises LlmbatchError for errors before the first request; if
    the run ends early, it yields all results first and then raises the reason.
    """
    with hints():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("stream needs a loop of asyncio", "Call llmbatch.run, which needs none.") from None
        live = BackgroundRun(records, options, tee=True)
    async with aclosing(live.results()) as results:
        async for result in results:
            yield result


def run(
    records: Records,
    *,
    progress: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Unpack[Options],
) -> Run:
    """Send the records and wait for all results; where a loop runs, as in a notebook, in a thread of its own.

    `progress` shows a bar; `on_progress` is called several times a second, from another thread, and at the end; if
    it raises, the log says so and the run goes on. With `output` results stay in that file, without it in memory.
    Raises as `stream` does; the `run` attribute of the exception is the Run with the results so far.
    """
    with hints(), ExitStack() as stack:
        watchers: list[Callable[[Snapshot], None]] = []
        if on_progress is not None:
            watchers.append(lambda now: on_progress(_progress(now)))
        if progress:
            from llmbatch.ui.bar import bar

            watchers.append(stack.enter_context(bar()))
        view = _watching(watchers) if watchers else None
        if os.fspath(options.get("output", "")).endswith("/"):
            return _run_in_parts(records, options, view)
        collect = partial(_collect, records, options, view)
        if not _loop_runs():
            return anyio.run(collect, backend_options={"use_uvloop": has_uvloop()})
        with start_blocking_portal(backend_options={"use_uvloop": has_uvloop()}) as portal:
            return portal.call(collect)


def _loop_runs() -> bool:
    """Say whether a loop runs in this thread, asyncio's or trio's."""
    for current in (asyncio.get_running_loop, anyio.get_current_task):
        try:
            current()
        except RuntimeError:
            continue
        return True
    return False


def _watching(watchers: Sequence[Callable[[Snapshot], None]]) -> View:
    """Return a view that passes snapshots on, and the last one at the end.

    A watcher that raises is told in the log and gets no more: the answers that come in meanwhile are paid for.
    """
    watching = [*watchers]

    @contextmanager
    def view(snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        def show() -> None:
            now = snapshot()
            for watcher in [*watching]:
                try:
                    watcher(now)
                except Exception:
                    watching.remove(watcher)
                    _log.warning("on_progress raised an error and is not called any more", exc_info=True)

        with ticking(_EVERY, show):
            yield
        show()

    return view


def _progress(now: Snapshot) -> Progress:
    return Progress(
        finished=now.finished,
        total=now.total,
        ok=now.ok,
        failed=now.failed,
        in_flight=now.in_flight,
        cost_usd=now.cost,
        eta_s=now.eta,
    )


def _run_in_parts(records: Records, options: Options, view: View | None) -> Run:
    paths, source, _ = sources(records)
    if source is not None:
        raise UsageError("records are values, and parts are cut from files", "Pass pathlib.Path, or output=FILE.")
    settings = settings_of(options, paths, tee=False)
    environment = environment_of(options)
    servers = find_servers(settings.model, environment, settings.patience.connect_timeout)
    summary = run_parts(
        settings, servers, environment, observers=(event_log(servers.redact),), view=view, embedded=True
    )
    ended = Run(cast(RunSummary, summary.as_json()), [], settings.output.folder)
    if summary.stopped is not None:
        failure = next((kind for kind in _STOPS if kind.exit_code == summary.exit_code), LlmbatchError)
        error = failure(summary.stopped, summary.hint)
        error.run = ended
        raise error
    return ended


_STOPS = (ActionNeeded, CeilingReached, OutputError, OutputBusy, UsageError, InputError)


async def _collect(records: Records, options: Options, view: View | None) -> Run:
    live = BackgroundRun(records, options, tee=False, view=view)
    task = asyncio.create_task(live.work())
    results: list[Result] = []
    try:
        while some := await live.queue.take():
            results += some
        await asyncio.shield(task)
    finally:
        live.close()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
    results.sort(key=lambda result: result["index"])
    summary = cast(RunSummary, live.summary.as_json() if live.summary is not None else {})
    ended = Run(summary, results, live.settings.output.path)
    live.raise_failure(ended)
    return ended
