"""`stream` runs the engine in the event loop of the caller, `run` in a loop of its own."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Unpack, cast

import anyio
from anyio.from_thread import start_blocking_portal

from llmbatch.api.background_run import BackgroundRun, Records, environment_of, event_log, hints, sources
from llmbatch.api.collected_run import CollectedRun
from llmbatch.api.options import Options, settings_of
from llmbatch.api.result import Progress, Result, RunSummary
from llmbatch.api.run_result import Run
from llmbatch.app.servers import find_servers
from llmbatch.app.session import View
from llmbatch.app.timer import ticking
from llmbatch.core.errors import (
    ActionNeeded,
    CeilingReached,
    ExitCode,
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

    `progress` shows a bar; `on_progress` is called several times a second, from another thread, and at the end. If it
    raises an Exception, the log says so and the run goes on; KeyboardInterrupt and SystemExit end the run, unless it is
    one of parts. With `output` results stay in that file, without it in memory. Raises as `stream` does; the `run`
    attribute of the exception, of KeyboardInterrupt too, is the Run with the results so far.
    """
    with hints(), ExitStack() as stack:
        watchers: list[Callable[[Snapshot], None]] = []
        if on_progress is not None:
            _check_callable(on_progress)
            watchers.append(lambda now: on_progress(_progress(now)))
        if progress:
            from llmbatch.ui.bar import bar

            watchers.append(stack.enter_context(bar()))
        if os.fspath(options.get("output", "")).endswith("/"):
            return _run_in_parts(records, options, _watching(watchers, _tell))
        collected = CollectedRun(records, options)
        exits: list[BaseException] = []

        def end(error: BaseException) -> None:
            exits.append(error)
            collected.interrupt()

        try:
            _work(partial(collected.work, _watching(watchers, end)))
            if exits:
                raise exits[0]
        except (KeyboardInterrupt, SystemExit) as error:
            error.run = collected.so_far()  # type: ignore[union-attr]
            raise
        return collected.ended()


def _work(do: Callable[[], Coroutine[Any, Any, None]]) -> None:
    how = {"use_uvloop": has_uvloop()}
    if not _loop_runs():
        anyio.run(do, backend_options=how)
        return
    with start_blocking_portal(backend_options=how) as portal:
        portal.call(do)


def _check_callable(on_progress: object) -> None:
    if not callable(on_progress) or iscoroutinefunction(on_progress):
        raise UsageError("on_progress is not a plain function", "Pass a function of one argument, llmbatch.Progress.")


def _loop_runs() -> bool:
    """Say whether a loop runs in this thread, asyncio's or trio's."""
    for current in (asyncio.get_running_loop, anyio.get_current_task):
        try:
            current()
        except RuntimeError:
            continue
        return True
    return False


def _watching(watchers: Sequence[Callable[[Snapshot], None]], exits: Callable[[BaseException], None]) -> View | None:
    """Return a view that passes snapshots on, and the last one at the end; None without watchers.

    A watcher that raises gets no more. An Exception is told in the log, since the answers that come in meanwhile are
    paid for; what is none, as SystemExit, is passed to `exits`.
    """
    if not watchers:
        return None
    watching = [*watchers]

    @contextmanager
    def view(snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        def show() -> None:
            now = snapshot()
            for watcher in [*watching]:
                try:
                    watcher(now)
                except BaseException as error:
                    watching.remove(watcher)
                    _tell(error) if isinstance(error, Exception) else exits(error)

        with ticking(_EVERY, show):
            yield
        show()

    return view


def _tell(error: BaseException) -> None:
    _log.warning("on_progress raised an error and is not called any more", exc_info=error)


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
    work = partial(
        run_parts, settings, servers, environment, observers=(event_log(servers.redact),), view=view, embedded=True
    )
    if _loop_runs():
        with ThreadPoolExecutor(1) as thread:
            summary = thread.submit(work).result()
    else:
        summary = work()
    ended = Run(cast(RunSummary, summary.as_json()), [], settings.output.folder)
    if summary.stopped is not None:
        if summary.exit_code == ExitCode.INTERRUPT:
            interrupt = KeyboardInterrupt(summary.stopped)
            interrupt.run = ended  # type: ignore[attr-defined]
            raise interrupt
        failure = next((kind for kind in _STOPS if kind.exit_code == summary.exit_code), LlmbatchError)
        error = failure(summary.stopped, summary.hint)
        error.run = ended
        raise error
    return ended


_STOPS = (ActionNeeded, CeilingReached, OutputError, OutputBusy, UsageError, InputError)
