"""Makes the plan of a run of parts, or finds the one there is and compares it with what is asked for now."""

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

from llmbatch.app.files import check_settings
from llmbatch.app.input import InputReader, new_dialect
from llmbatch.app.resume import recorded_options
from llmbatch.core.errors import UsageError
from llmbatch.core.plural import counted
from llmbatch.core.settings import ParallelSettings, PartSize, Settings
from llmbatch.dialects.providers import Preset
from llmbatch.input.source import would_be_read
from llmbatch.parts.cut import cut, look_at
from llmbatch.parts.folder import PLAN, RunFolder
from llmbatch.parts.plan import Plan, changed_inputs
from llmbatch.results.run_log import difference

__all__ = ["check_inputs_of_part", "find_plan", "parts_of_shard", "settings_of_part"]


def find_plan(settings: Settings, preset: Preset, folder: RunFolder, notice: Callable[[str], None]) -> Plan:
    """Return the plan of a folder; write it, unless there is one. Looks at the first records before it does.

    Raises UsageError for a plan of other inputs or options, and for settings that no run of parts has; InputError.
    """
    _check(settings)
    paths = settings.input.paths
    folder.check(settings.input.named)
    check_settings(settings, stdin=False)
    if would_be_read(str(folder.results(0)), settings.input.named):
        raise UsageError(f"-o {folder.path}/ is where the inputs are", "Put it where the inputs do not lead to.")
    inputs, options = look_at(paths), _options(settings)
    plan = folder.plan()
    if plan is None:
        size = settings.output.part_size or PartSize()
        _look_at_records(settings, preset, notice)
        parts = cut(inputs, size, format=settings.input.format, delimiter=settings.input.delimiter)
        plan = folder.create(Plan.of(inputs, parts, options))
        notice(f"{folder.path / PLAN}: {counted(len(plan.parts), 'part')} of about {counted(plan.records, 'record')}")
    if (changed := changed_inputs(plan.inputs, inputs)) is not None:
        raise UsageError(
            f"the inputs are not those of {folder.path / PLAN}: {changed}; nothing was sent",
            "Put them back as they were, or choose another -o DIR/ for these.",
        )
    if plan.options != options:
        raise UsageError(
            f"the options are not those of {folder.path / PLAN} ({difference(dict(plan.options), options)}); "
            "nothing was sent",
            "Use the options of before, or another -o DIR/.",
        )
    return plan


def settings_of_part(settings: Settings, folder: RunFolder, plan: Plan, number: int) -> Settings:
    """Return the settings of the session that works on a part."""
    pieces = plan.parts[number].pieces
    paths = settings.input.paths
    return settings._replace(
        input=settings.input._replace(
            paths=tuple(paths[piece.input] for piece in pieces),
            named=(),
            spans=tuple(piece.span for piece in pieces),
            part=plan.name_of(number),
            shard=None,
            strict=False,
        ),
        output=settings.output._replace(path=folder.results(number), folder=None),
        parallel=ParallelSettings(),
        view=settings.view._replace(summary_file=None, metrics_file=None),
    )


def check_inputs_of_part(settings: Settings, plan: Plan, number: int) -> None:
    """Raise UsageError if an input of a part was changed since the run began. The settings are those of the part."""
    planned = [plan.inputs[piece.input] for piece in plan.parts[number].pieces]
    if (changed := changed_inputs(planned, look_at(settings.input.paths))) is not None:
        raise UsageError(
            f"an input was changed since the plan was made: {changed}; nothing more is sent",
            "Put it back as it was, or choose another -o DIR/ for it as it is.",
        )


def parts_of_shard(plan: Plan, shard: tuple[int, int] | None) -> range:
    """Return the numbers of the parts that a worker of several has: I, I+N and so on."""
    return range(len(plan.parts)) if shard is None else range(shard[0] - 1, len(plan.parts), shard[1])


def _options(settings: Settings) -> dict[str, Any]:
    """Return the options that say which record is which, and what is asked."""
    input = settings.input
    return {
        **recorded_options(input, settings.model),
        "input_format": input.format,
        "delimiter": input.delimiter,
        "id_field": input.id_field,
        **({"repeat": input.repeat} if input.repeat is not None else {}),
        "meta": input.meta if isinstance(input.meta, str) else list(input.meta),
    }


def _check(settings: Settings) -> None:
    """Raise UsageError for what a run of parts cannot do."""
    input, output, resume = settings.input, settings.output, settings.resume
    for is_set, option, why in (
        (not input.paths or "-" in input.paths, "stdin", "Put the input into a file: parts are read from a plan."),
        (input.limit is not None, "--limit", "Cut the input, or try -o FILE with it first."),
        (input.sample is not None, "--sample", "Choose the records with -o FILE; --repeat works here."),
        (output.overwrite, "--overwrite", "Remove the folder, or choose another one."),
        (output.tee, "--tee", "llmbatch convert DIR/ writes all results to stdout, in order."),
        (resume.append, "--append", "Each input has a folder of its own."),
        (output.table is not None, "a table", "llmbatch convert DIR/ -o X.csv writes one."),
    ):
        if is_set:
            raise UsageError(f"{option} does not go with -o {output.folder}/", why)


def _look_at_records(settings: Settings, preset: Preset, notice: Callable[[str], None]) -> None:
    """Check the first records, or with `--strict` all of them, as a run on one FILE does before it sends anything."""
    dialect = new_dialect(settings.model, preset, settings.pace.pack)
    with closing(InputReader(settings.input._replace(shard=None), settings.model, notice)) as reading:
        if settings.input.strict:
            reading.check(dialect)
        _first(reading.jobs(dialect, must_be_usable=True).records(1))


def _first(records: Iterable[Any]) -> None:
    next(iter(records), None)
