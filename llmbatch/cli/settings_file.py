"""Where settings come from: flag, environment, profile, file, default; and the file itself."""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.core.errors import UsageError

__all__ = ["RANK", "Profile", "config_path", "origin", "values"]

RANK = ("flag", "environment", "profile", "file", "default")
"""Origins, strongest first."""

if TYPE_CHECKING:
    from typer._click.core import Context  # typer.Context is a subclass that its own make_context does not return

_PROFILE_KEYS = "llmbatch.profile"


def config_path() -> Path:
    """Return where the settings file is, or would be."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "llmbatch" / "config.toml"


def origin(ctx: "Context", name: str) -> str:
    """Say where a parameter's value comes from: one of `RANK`."""
    source = ctx.get_parameter_source(name)
    match source.name if source is not None else "DEFAULT":
        case "COMMANDLINE":
            return "flag"
        case "ENVIRONMENT":
            return "environment"
        case "DEFAULT_MAP":
            return "profile" if name in ctx.meta.get(_PROFILE_KEYS, ()) else "file"
    return "default"


def values(ctx: "Context") -> dict[str, Any]:
    """Return the values of all parameters; a variable of one that may be repeated has a value on each line.

    typer would cut it at every space, and with it a header or a JSON value.
    """
    found = dict(ctx.params)
    for parameter in ctx.command.params:
        name, variable = parameter.name, parameter.envvar
        if name in found and getattr(parameter, "multiple", False) and origin(ctx, name) == "environment":
            lines = os.environ[variable].splitlines() if isinstance(variable, str) else []
            found[name] = [line.strip() for line in lines if line.strip()]
    return found


def _load(ctx: typer.Context, name: str | None) -> str | None:
    """Read the settings file before any other option is looked at. Raises UsageError."""
    if ctx.resilient_parsing:
        return name
    path = config_path()
    try:
        tables = _toml(path)
    except FileNotFoundError:
        tables = {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}", "Mend or move the file.") from None
    profiles = tables.pop("profile", {})
    if not isinstance(profiles, dict) or not all(isinstance(profile, dict) for profile in profiles.values()):
        raise UsageError(f"{path}: a profile is a table", "Write [profile.NAME] above its settings.")
    if name is not None and name not in profiles:
        near = get_close_matches(name, profiles, n=1)
        known = f"Did you mean {near[0]}?" if near else f"{path} has: {', '.join(sorted(profiles)) or 'none'}."
        raise UsageError(f"no profile {name!r}", known)
    profile = profiles[name] if name is not None else {}
    known_names = {p.name: p for p in ctx.command.params if p.name is not None}
    chosen = _named(ctx, profile, known_names, path)
    ctx.meta[_PROFILE_KEYS] = set(chosen)
    ctx.default_map = _named(ctx, tables, known_names, path) | chosen
    return name


def _toml(path: Path) -> dict[str, Any]:
    """Read a file of TOML. Raises OSError, and ValueError for what is none."""
    text = path.read_text(encoding="utf-8")
    import tomllib

    return tomllib.loads(text)


def _named(ctx: typer.Context, table: dict[str, Any], known: dict[str, Any], path: Path) -> dict[str, Any]:
    """Map keys as written (`max-tokens`, `max_tokens`) to parameter names. Raises UsageError for what cannot be."""
    found = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known or name in ("inputs", "profile"):
            near = get_close_matches(key.replace("_", "-"), [k.replace("_", "-") for k in known], n=1)
            raise UsageError(f"{path}: unknown setting {key!r}", f"Did you mean {near[0]}?" if near else None)
        found[name] = _as_typed(value, f"{path}: {key}", several=known[name].multiple)
        try:
            known[name].process_value(ctx, found[name])
        except typer.BadParameter as error:  # told here, where the value stands: typer would blame the variable
            raise UsageError(f"{path}: {key} = {value!r}: {error.message}", "Mend the file.") from None
    return found


def _as_typed(value: Any, where: str, *, several: bool) -> Any:
    """Turn a TOML value into what the command line would have given; raise UsageError for what cannot be."""
    values = value if isinstance(value, list) and several else [value]
    if not all(isinstance(item, str | int | float) for item in values):
        raise UsageError(f"{where} is a value{' or a list of values' if several else ''}, as on the command line")
    typed = [item if isinstance(item, bool) else str(item) for item in values]
    return typed if several else typed[0]


Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        envvar="LLMBATCH_PROFILE",
        is_eager=True,
        callback=_load,
        rich_help_panel="View",
        help=r"Settings from \[profile.NAME] of the settings file.",
    ),
]
