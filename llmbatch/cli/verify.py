"""`llmbatch verify`: checks that each record has exactly one result."""

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli.completion import choose
from llmbatch.cli.fast_params import Command
from llmbatch.cli.secrets import learn_addresses
from llmbatch.core.errors import ExitCode, UsageError
from llmbatch.core.settings import InputSettings
from llmbatch.options.kinds import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmbatch.app.verify import Finding, Problem, Reconciliation

__all__ = ["verify"]

SHOWN = 10
"""How many findings of a kind are shown without --all."""


class ResultsLast(Command):
    """A command whose `-o` takes all names up to the next option, because the shell expands `-o out-*.jsonl` so."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]  # typer's own context has no public name
        """Insert `-o` before every further name, then parse as usual."""
        return super().parse_args(ctx, spelled_out(args))


def spelled_out(args: list[str]) -> list[str]:
    """Return the arguments with `-o` before each results file."""
    result: list[str] = []
    in_output = has_name = False
    for place, arg in enumerate(args):
        if arg == "--":
            return result + args[place:]
        if arg in ("-o", "--output"):
            in_output, has_name = True, False
            result.append(arg)
        elif arg.startswith("-") and arg != "-":
            in_output = has_name = arg.startswith(("--output=", "-o"))
            result.append(arg)
        else:
            result += ["-o", arg] if in_output and has_name else [arg]
            has_name = in_output
    return result


verify = typer.Typer(add_completion=False)


@verify.command("verify", cls=ResultsLast)
def _verify(
    output: Annotated[
        list[str],
        typer.Option(
            "--output",
            "-o",
            metavar="RESULTS...",
            help="The results files, shards too; all up to the next option. Or the DIR/ of a run.",
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="The files of prompts; none or - is stdin.", show_default=False),
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="As for the run. Default: by file name; stdin is jsonl.",
            autocompletion=choose(*FORMAT.choices),
        ),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(metavar="CHARACTER", help="As for the run.")] = None,
    id_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="As for the run. Default: id, then custom_id.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", metavar="N", min=0, help="Only the first N records; orphans are then not looked for."
        ),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="As for the run. Default: what the last run says, or the lines show."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="As for the run: only these records; orphans are then not looked for."),
    ] = None,
    sample_seed: Annotated[int, typer.Option(metavar="S", help="As for the run.")] = 0,
    max_line: Annotated[int, typer.Option(metavar="BYTES", min=1, help="As for the run.")] = InputSettings().max_line,
    format: Annotated[
        str,
        typer.Option(metavar="table|json", help="The shape of the account.", autocompletion=choose("table", "json")),
    ] = "table",
    all: Annotated[
        bool,
        typer.Option("--all", help="Everything that is wrong, as JSON lines on stdout; the account goes to stderr."),
    ] = False,
) -> None:
    """Check that each record of INPUT has exactly one result; exit 0 if so, else 1.

    llmbatch verify prompts.jsonl -o results.jsonl
    llmbatch verify prompts.jsonl -o shard-*.jsonl --all | jq -r 'select(.problem == "missing").id'

    Lists records without a result, results without a record, repeated results and broken lines. Nothing is changed,
    no model is needed.
    """
    from llmbatch.app.files import check_stdout
    from llmbatch.app.verify import Problem, Reconciliation
    from llmbatch.app.verify import verify as reconcile
    from llmbatch.codec import json
    from llmbatch.core.stderr import write_stderr
    from llmbatch.input.source import checked_delimiter, expand
    from llmbatch.parts.folder import is_run_folder, runs_in
    from llmbatch.ui.streams import stdout_sink

    if format not in ("table", "json"):
        raise UsageError(f"--format {format} is not a format", "--format table or json.")
    folders = [name for name in output if os.path.isdir(name)]
    _check(output, inputs, folders, limit=limit, sample=sample)
    check_stdout(() if folders else output, inputs or ())
    out = stdout_sink()
    examples: dict[Problem, list[Finding]] = {problem: [] for problem in Problem}

    def found(finding: "Finding") -> None:
        if all:
            out(json.dumps(finding.as_json()) + b"\n")
        elif len(examples[finding.problem]) < SHOWN:
            examples[finding.problem].append(finding)

    learn_addresses(inputs or [])
    paths, separator = expand(inputs or []), checked_delimiter(delimiter)
    how: dict[str, Any] = {
        "input_format": input_format,
        "id_field": id_field,
        "max_line": max_line,
        "delimiter": separator,
        "repeat": repeat,
    }
    account = Reconciliation()
    runs: list[str] = runs_in(folders) if folders else [""]
    for results in runs:  # each model has a result for each record
        tell = found if len(runs) == 1 else partial(_found_in, results, found)
        if results and is_run_folder(results):
            from llmbatch.parts.verify import verify as reconcile_parts

            account.include(reconcile_parts(paths, results, **how, found=tell, keep=None if all else SHOWN))
        else:
            files = [results] if results else output
            account.include(
                reconcile(paths, files, **how, limit=limit, sample=sample, sample_seed=sample_seed, found=tell)
            )
    if format == "json":
        listed = {} if all else {"findings": [one.as_json() for some in examples.values() for one in some]}
        text = json.dumps(account.as_json() | listed) + b"\n"
    else:
        from llmbatch.core.environment import ENVIRONMENT
        from llmbatch.ui.console import is_colored

        fd = 2 if all else 1
        colored = is_colored(fd, ENVIRONMENT)
        text = _table(account, examples, fd, colored=colored)
        out = stdout_sink(escape=not colored)
    (write_stderr if all else out)(text)
    if account.records and account.problems[Problem.MISSING] == account.records and account.lines:
        write_stderr(b"no result fits any record: are --id-field and --input-format those of the run?\n")
    raise typer.Exit(ExitCode.OK if account.complete else ExitCode.FAILURES)


def _check(
    output: list[str], inputs: list[str] | None, folders: list[str], *, limit: int | None, sample: int | None
) -> None:
    """Raise UsageError for what does not go together."""
    if not inputs and os.isatty(0):
        raise UsageError("no INPUT, and stdin is a terminal", "llmbatch verify INPUT -o RESULTS: INPUT comes first.")
    if "-" in output and (not inputs or "-" in inputs):
        raise UsageError("INPUT and RESULTS cannot both be stdin", "Put one of them into a file.")
    if folders and (len(output) > 1 or limit is not None or sample is not None or not inputs or "-" in inputs):
        raise UsageError(f"{folders[0]} is a folder of results", "llmbatch verify INPUT -o DIR/: all of it, and alone.")
    if sample is not None and limit is not None:
        raise UsageError("--sample and --limit both choose records", "Keep one of them.")


def _table(account: "Reconciliation", examples: "dict[Problem, list[Finding]]", fd: int, *, colored: bool) -> bytes:
    """Return the account as text for a descriptor."""
    from llmbatch.core.environment import ENVIRONMENT
    from llmbatch.ui.streams import terminal_width
    from llmbatch.ui.symbols import symbols_for
    from llmbatch.ui.verify import reconciliation_text

    return reconciliation_text(account, examples, terminal_width(fd), symbols_for(ENVIRONMENT), colored=colored)


def _found_in(results: str, found: "Callable[[Finding], None]", finding: "Finding") -> None:
    """Pass a finding on, with the run that it is of."""
    found(replace(finding, place={"results": results, **finding.place}))
