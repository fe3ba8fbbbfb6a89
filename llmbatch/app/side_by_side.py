"""Several models side by side: a run for each, with its own results file, key and pace, shown and summed up as one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio

from llmbatch.app.composition import open_session, tune_interpreter
from llmbatch.app.joined_runs import joined_snapshot, joined_summary
from llmbatch.app.servers import Servers, find_servers
from llmbatch.app.session import Session, View
from llmbatch.app.signals import watch_signals
from llmbatch.app.summary import worst
from llmbatch.core.errors import LlmbatchError, UsageError
from llmbatch.core.model_name import NamedModel
from llmbatch.core.ports import AttemptLog, Observer
from llmbatch.core.settings import Settings
from llmbatch.core.snapshot import Snapshot
from llmbatch.core.tally import Summary
from llmbatch.results.render import Render
from llmbatch.results.stream_sink import StreamSink
from llmbatch.transport_process.event_loop import has_uvloop
from llmbatch.transport_process.parent import TransportProcess
from llmbatch.transport_process.spawn import spawn_transport

__all__ = ["ModelRun", "model_runs", "run_models", "settings_by_model"]


class ModelRun(NamedTuple):
    """The run of one model. `name` is as the user wrote it."""

    name: str
    settings: Settings
    servers: Servers


def settings_by_model(settings: Settings) -> list[tuple[NamedModel, Settings]]:
    """Return the settings of each model's run. Raises UsageError for models that cannot run side by side."""
    folder, models = settings.output.folder, settings.models
    if folder is None:
        raise UsageError(
            f"{len(models)} models need a folder for their results files, not one file", "-o DIR/ with the slash."
        )
    if not settings.input.paths or "-" in settings.input.paths:
        raise UsageError("stdin can be read only once, and each model reads the input", "Put the input into a file.")
    if settings.output.tee:
        raise UsageError("--tee shows one results file, and each model has its own", "Leave it out.")
    for number, model in enumerate(models):
        for other in models[:number]:
            if other == model:
                raise UsageError(f"-m {model} is given twice", "Name each model once; --repeat N asks it N times.")
            if other.file_name.lower() == model.file_name.lower():
                raise UsageError(
                    f"-m {other} and -m {model} would have one results file, {folder / model.file_name}",
                    "Run one of them with another -o.",
                )
    in_parts = settings.output.part_size is not None
    for model in models:
        _check_place(folder, model, in_parts=in_parts)
    parallel = settings.parallel
    if not in_parts and (parallel.processes is not None or parallel.engine != "local"):
        raise UsageError("--processes and --engine work on parts", "Add --part-size N: each model then has a folder.")
    if parallel.engine != "local":
        raise UsageError("--engine works on the parts of one model", "Run the command once for each model.")
    named = settings.model
    key = next((flag for flag in ("key_env", "key_file", "key_command") if getattr(named, flag) is not None), None)
    if key is not None and len({model.provider for model in models}) > 1:
        raise UsageError(
            f"--{key.replace('_', '-')} names one key, which would go to several providers",
            "Leave it out: each provider has a variable of its own, which llmbatch providers lists.",
        )
    return [
        (
            model,
            settings._replace(
                models=(),
                model=named._replace(model=model.model, provider=model.provider or named.provider),
                output=settings.output._replace(
                    path=None if in_parts else folder / model.file_name,
                    folder=folder / model.folder_name if in_parts else None,
                ),
            ),
        )
        for model in models
    ]


def _check_place(folder: Path, model: NamedModel, *, in_parts: bool) -> None:
    """Raise UsageError where an earlier run has put the results of a model elsewhere in the folder."""
    file, parts = folder / model.file_name, folder / model.folder_name
    if in_parts and file.exists():
        raise UsageError(
            f"{file} has the results of a run without --part-size",
            "Leave --part-size out to continue it, or choose another -o DIR/.",
        )
    if not in_parts and parts.is_dir():
        raise UsageError(
            f"{parts}/ has the results of a run with --part-size",
            "Add the --part-size of before to continue it, or choose another -o DIR/.",
        )


def model_runs(settings: Settings, environment: Mapping[str, str]) -> list[ModelRun]:
    """Return the runs, each with its key.

    Raises UsageError, and ActionNeeded for a provider without a key, which it names; nothing was sent then.
    """
    timeout = settings.patience.connect_timeout
    return [
        ModelRun(str(model), own, find_servers(own.model, environment, timeout))
        for model, own in settings_by_model(settings)
    ]


def run_models(
    runs: Sequence[ModelRun],
    transport: TransportProcess,
    environment: Mapping[str, str],
    *,
    observers: Callable[[str], Sequence[Observer]] = lambda name: (),
    view: View | None = None,
    attempt_log: Callable[[str], AttemptLog] | None = None,
) -> Summary:
    """Run all models at once until each has ended. `observers` and `attempt_log` make those of a run by its name.

    Raises LlmbatchError for what is wrong with any of them before the first request of the first. Blocks, and handles
    the signals meanwhile.
    """

    def stream(render: Render) -> StreamSink:
        return StreamSink(1, render)

    tune_interpreter()
    first = runs[0].settings  # all have the same, but for the model and its file
    assert first.output.path is not None
    first.output.path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(
                open_session(
                    run.settings,
                    run.servers,
                    transport if number == 0 else stack.enter_context(spawn_transport()),
                    environment,
                    stream,
                    observers=observers(run.name),
                    attempt_log=attempt_log(run.name) if attempt_log is not None else None,
                )
            )
            for number, run in enumerate(runs)
        ]
        names = [run.name for run in runs]
        everything = partial(
            _to_the_end,
            dict(zip(names, sessions, strict=True)),
            view,
            timeout=first.patience.timeout,
            grace=first.stop.grace,
        )
        return anyio.run(everything, backend_options={"use_uvloop": has_uvloop()})


async def _to_the_end(sessions: Mapping[str, Session], view: View | None, *, timeout: float, grace: float) -> Summary:
    summaries: dict[str, Summary] = {}
    errors: dict[str, LlmbatchError] = {}
    snapshots = _Snapshots()

    async def run(name: str, session: Session) -> None:
        try:
            summaries[name] = await session.to_the_end(partial(snapshots.of, name))
        except LlmbatchError as error:  # nothing was sent of this one
            errors[name] = error

    def stop(reason: LlmbatchError, *, grace: float) -> None:
        for name, session in sessions.items():
            if name not in summaries and name not in errors:
                session.stop(reason, grace=grace)

    with nullcontext() if view is None else view(snapshots.joined):
        async with anyio.create_task_group() as watchers:
            watchers.start_soon(partial(watch_signals, stop, timeout=timeout, grace=grace))
            async with anyio.create_task_group() as tasks:
                for name, session in sessions.items():
                    tasks.start_soon(run, name, session)
            watchers.cancel_scope.cancel()
    if not summaries:
        raise next(iter(errors.values()))
    found = joined_summary({name: summaries[name] for name in sessions if name in summaries})
    for name, error in errors.items():
        code = worst([found.exit_code, error.exit_code])
        found = replace(found, exit_code=code, stopped=f"{name}: {error.message}", stopped_by=error.by, hint=error.hint)
    return found


class _Snapshots:
    """The snapshots of the runs, as one. A run that has ended has its last."""

    def __init__(self) -> None:
        self._by_run: dict[str, Callable[[], Snapshot]] = {}

    @contextmanager
    def of(self, name: str, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        """Include a run; afterwards its last snapshot."""
        self._by_run[name] = snapshot
        try:
            yield
        finally:
            last = snapshot()
            self._by_run[name] = lambda: last._replace(rate=0.0, in_flight=0, routes=(), stalled=0.0, waits=())

    def joined(self) -> Snapshot:
        """Return all of them as one."""
        return joined_snapshot({name: snapshot() for name, snapshot in [*self._by_run.items()]})
