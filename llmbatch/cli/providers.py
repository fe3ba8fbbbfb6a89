"""`llmbatch providers`: lists the presets and whether their keys are set."""

import os
from typing import Annotated

import typer

from llmbatch.cli.completion import choose, remember_models
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import ExitCode, UsageError
from llmbatch.options.request_kinds import PROVIDER

__all__ = ["providers"]


def providers(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Presets; none is all.", show_default=False, autocompletion=choose(*PROVIDER.choices)
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Ask GET /models: of those named, else of those with a key and those without need."
        ),
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="table|json",
            help="json is a line for each; the default where stdout is no terminal.",
            autocompletion=choose("table", "json"),
        ),
    ] = None,
) -> None:
    """List the presets for -p: base URL, key variable, and whether the key is set. Keys are never shown.

    llmbatch providers
    llmbatch providers openai ollama --check
    """
    if format not in (None, "table", "json"):
        raise UsageError(f"--format {format} is not a format", "--format table or json.")
    import anyio

    from llmbatch.app import providers as presets
    from llmbatch.ui.streams import stdout_sink, terminal_width

    found = presets.providers(names or [], ENVIRONMENT)
    if check:
        wanted = [one for one in found if names or one.key_set or not one.needs_key]
        found = anyio.run(presets.checked, wanted, ENVIRONMENT)
        for one in found:
            if one.check is not None:
                remember_models(one.provider, one.check.names)
    out = stdout_sink()
    if format == "json" or (format is None and not os.isatty(1)):
        from llmbatch.codec import json

        out(b"".join(json.dumps(one.as_json()) + b"\n" for one in found))
    else:
        from llmbatch.ui.providers import providers_text
        from llmbatch.ui.symbols import symbols_for

        out(providers_text(found, terminal_width(1), symbols_for(ENVIRONMENT)))
    if any(one.check is not None and not one.check.ok for one in found):
        raise typer.Exit(ExitCode.FAILURES)
