"""Makes the plan of a run of parts, or finds the one there is and compares it with what is asked for now."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

from llmbatch.app.input import InputReader, new_dialect
from llmbatch.app.resume import recorded_options
from llmbatch.core.errors import UsageError
from llmbatch.core.plural import counted
from llmbatch.core.ports import Dialect
from llmbatch.core.settings import InputSettings, ModelSettings, OutputSettings, PartSize
from llmbatch.dialects.providers import Preset
from llmbatch.input.source import would_be_read
from llmbatch.parts.cut import cut, look_at
from llmbatch.parts.folder import PLAN, RunFolder
from llmbatch.parts.plan import Plan, changed_inputs
from llmbatch.results.run_log import difference

__all__ = ["check_inputs_of_part", "find_plan", "parts_of_shard"]


def find_plan(
    input: InputSettings,
    model: ModelSettings,
    output: OutputSettings,
    folder: RunFolder,
    preset: Preset,
    notice: Callable[[str], None],
    *,
    append: bool,
    pack: int | None,
) -> Plan:
    """Return the plan of a folder; write it, unless there is one. Looks at the first records before it does.

    Raises UsageError for a plan of other inputs or options, and for settings that no run of parts has; InputError.
    """
    _check(input, output, append=append)
    folder.check(input.named)
    if would_be_read(str(folder.results(0)), input.named):
        raise UsageError(f"-o {folder.path}/ is where the inputs are", "Put it where the inputs do not lead to.")
    inputs, options = look_at(input.paths), _options(input, model)
    plan = folder.plan()
    if plan is None:
        size = output.part_size or PartSize()
        _look_at_records(input, model, new_dialect(model, preset, pack), notice)
        parts = cut(inputs, size, format=input.format, delimiter=input.delimiter)
        plan = folder.create(Plan.of(inputs, parts, options))
        notice(
            f"{folder.path / PLAN}: {counted(len(plan.parts), 'part')}, about {counted(plan.records, 'record')} in all"
        )
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


def check_inputs_of_part(paths: Sequence[str], plan: Plan, number: int) -> None:
    """Raise UsageError if an input of a part, which are at `paths`, was changed since the plan was made."""
    planned = [plan.inputs[piece.input] for piece in plan.parts[number].pieces]
    if (changed := changed_inputs(planned, look_at(paths))) is not None:
        raise UsageError(
            f"an input was changed since the plan was made: {changed}; nothing more is sent",
            "Put it back as it was, or choose another -o DIR/ for it as it is.",
        )


def parts_of_shard(plan: Plan, shard: tuple[int, int] | None) -> range:
    """Return the numbers of the parts that a worker of several has: I, I+N and so on."""
    return range(len(plan.parts)) if shard is None else range(shard[0] - 1, len(plan.parts), shard[1])


def _options(input: InputSettings, model: ModelSettings) -> dict[str, Any]:
    """Return the options that say which record is which, and what is asked."""
    return {
        **recorded_options(input, model),
        "input_format": input.format,
        "delimiter": input.delimiter,
        "id_field": input.id_field,
        **({"repeat": input.repeat} if input.repeat is not None else {}),
        "meta": input.meta if isinstance(input.meta, str) else list(input.meta),
    }


def _check(input: InputSettings, output: OutputSettings, *, append: bool) -> None:
    """Raise UsageError for what a run of parts cannot do."""
    for is_set, option, why in (
        (not input.paths or "-" in input.paths, "stdin", "Put the input into a file: parts are read from a plan."),
        (input.limit is not None, "--limit", "Cut the input, or try -o FILE with it first."),
        (input.sample is not None, "--sample", "Choose the records with -o FILE; --repeat works here."),
        (output.overwrite, "--overwrite", "Remove the folder, or choose another one."),
        (output.tee, "--tee", "llmbatch convert DIR/ writes all results to stdout, in order."),
        (append, "--append", "Each input has a folder of its own."),
        (output.table is not None, "a table", "llmbatch convert DIR/ -o X.csv writes one."),
    ):
        if is_set:
            raise UsageError(f"{option} does not go with -o {output.folder}/", why)


def _look_at_records(
    input: InputSettings, model: ModelSettings, dialect: Dialect, notice: Callable[[str], None]
) -> None:
    """Check the first records, or with `--strict` all of them, as a run on one FILE does before it sends anything."""
    with closing(InputReader(input._replace(shard=None), model, notice)) as reading:
        if input.strict:
            reading.check(dialect)
        _first(reading.jobs(dialect, must_be_usable=True).records(1))


def _first(records: Iterable[Any]) -> None:
    next(iter(records), None)
