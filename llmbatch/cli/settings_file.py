"""Reads the settings file, and says where a value comes from: flag, environment, profile, file or default."""

import os
import stat
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from llmbatch.cli.fast_params import in_plain_words
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import UsageError
from llmbatch.options.option import Option
from llmbatch.options.table import ALL_FLAGS, OPTIONS

__all__ = [
    "RANK",
    "commented",
    "config_path",
    "leave_out",
    "load_profile",
    "origin",
    "profile_names",
    "toml_value",
    "unknown_variables",
    "values",
]

RANK = ("flag", "environment", "profile", "file", "default")
"""Origins of values, strongest first."""

if TYPE_CHECKING:
    from typer._click.core import Context  # typer.Context is a subclass that its own make_context does not return

_PROFILE_KEYS, _LEFT_OUT = "llmbatch.profile", "llmbatch.no_config"


_OPTIONS = {option.name: option for option in OPTIONS}


def config_path() -> Path | None:
    """Return the path of the settings file, whether it exists or not; None if the user has no home folder."""
    folder = ENVIRONMENT.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):  # the XDG standard ignores relative paths
        home = _home()
        if home is None:
            return None
        folder = os.path.join(home, ".config")
    return Path(folder) / "llmbatch" / "config.toml"


def _home() -> str | None:
    """Return the home folder; None if neither HOME nor the list of users has it."""
    home = ENVIRONMENT.get("HOME")
    if not home:
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return home if os.path.isabs(home) else None


def commented() -> str:
    """Return a settings file in which everything is a comment: each setting with its help and its default."""
    lines = [_HEAD]
    for panel, options in groupby(OPTIONS, key=lambda option: option.panel):
        lines.append(f"\n## {panel}\n")
        for option in options:
            value = toml_value(option.default)
            if option.default is None:
                text = option.shown_values if option.kind.type in (int, float) else toml_value(option.shown_values)
                value = f"[{text}]" if option.repeats else text
            lines.append(f"\n# {option.help}\n# {option.key} = {value}\n")
    return "".join(lines)


_HEAD = """\
# Settings of `llmbatch run`, in TOML. To set one, take the # away in front of it; the values here are the defaults, or
# say what to write. Settings below a line [profile.NAME] at the end of the file are used with --profile NAME.
"""


def toml_value(value: Any) -> str:
    """Write a value as TOML has it; None, which it has not, as null."""
    import json

    if isinstance(value, list | tuple):
        return toml_value(value[0]) if len(value) == 1 else f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if value is None or isinstance(value, bool | int | float) else str(value)
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


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
    """Return the values of all parameters. For a repeatable option, each line of its variable is a value.

    typer would split the variable at every space, and so break a header or a JSON value.
    """
    found = dict(ctx.params)
    for option in OPTIONS:
        if option.repeats and origin(ctx, option.name) == "environment":
            found[option.name] = [line.strip() for line in ENVIRONMENT[option.variable].splitlines() if line.strip()]
        found[option.name] = _in_home(option, found[option.name])
    return found


def _in_home(option: Option, value: Any) -> Any:
    """Replace a leading `~` in the name of a file: a shell does that only on the command line, and not everywhere."""
    if isinstance(value, list):
        return [_in_home(option, each) for each in value]
    if value is None or not option.is_file(str(value)):
        return value
    at = "@" if option.kind.names_file == "after @" else ""
    path = str(value).removeprefix(at)
    if not path.startswith("~"):
        return value
    if path[1:2] not in ("", "/"):
        return type(value)(at + os.path.expanduser(path))
    home = _home()
    if home is None:
        raise UsageError(f"{option.flag} {path}: there is no home folder", "Set HOME, or write the path from / on.")
    return type(value)(at + home + path[1:])


def unknown_variables(ctx: "Context") -> list[str]:
    """Return a message for each LLMBATCH_ variable that no option reads, with a similar name if there is one."""
    variables = {option.variable for option in ALL_FLAGS} | _OTHER_VARIABLES
    messages = []
    for name in sorted(ENVIRONMENT):
        if name.startswith("LLMBATCH_") and name not in variables and name != ctx.params.get("key_env"):
            similar = get_close_matches(name, variables, n=1)
            messages.append(
                f"the variable {name} is not read by anything" + (f"; did you mean {similar[0]}?" if similar else "")
            )
    return messages


_OTHER_VARIABLES = {"LLMBATCH_API_KEY", "LLMBATCH_LIMITS_TOKEN", "LLMBATCH_MOCK_KEY"}
"""Variables that do not belong to an option of `run`."""


def load_profile(ctx: typer.Context, name: str | None) -> str | None:
    """Read the settings file before typer reads the other options. Raises UsageError."""
    if ctx.resilient_parsing:
        return name
    if ctx.meta.get(_LEFT_OUT):
        _refuse_flag(ctx, name)
        return None
    path = config_path()
    try:
        tables = _toml(path) if path is not None and _is_there(path) else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}", "Correct or move the file.") from None
    profiles = tables.pop("profile", {})
    if not isinstance(profiles, dict) or not all(isinstance(profile, dict) for profile in profiles.values()):
        raise UsageError(f"{path}: a profile is a table", "Write [profile.NAME] above its settings.")
    if name is not None and name not in profiles:
        similar = get_close_matches(name, profiles, n=1)
        hint = f"Did you mean {similar[0]}?" if similar else f"{path} has: {', '.join(sorted(profiles)) or 'none'}."
        raise UsageError(f"no profile {name!r}", hint)
    profile = profiles[name] if name is not None else {}
    chosen = _named(ctx, profile, path)
    ctx.meta[_PROFILE_KEYS] = set(chosen)
    ctx.default_map = _named(ctx, tables, path) | chosen
    return name


def profile_names() -> list[str]:
    """Return the names of the profiles, none where there is no settings file that can be read."""
    path = config_path()
    try:
        found = _toml(path).get("profile", {}) if path is not None else {}
    except (OSError, ValueError):
        return []
    return sorted(found) if isinstance(found, dict) else []


def leave_out(ctx: typer.Context, wanted: bool) -> bool:
    """Read no settings file. It is called before `load_profile`, or after it if the command line names both."""
    if wanted and not ctx.resilient_parsing:
        ctx.meta[_LEFT_OUT] = True
        if "profile" in ctx.params:
            _refuse_flag(ctx, ctx.params["profile"])
            ctx.params["profile"] = None
            ctx.default_map, ctx.meta[_PROFILE_KEYS] = {}, set()
    return wanted


def _refuse_flag(ctx: typer.Context, profile: str | None) -> None:
    """Raise UsageError for a profile that a flag names; one that a variable names is ignored."""
    if profile is not None and origin(ctx, "profile") == "flag":
        raise UsageError("--profile and --no-config do not go together", "Leave one of them out.")


def _is_there(path: Path) -> bool:
    """Say whether there is a settings file. A home that is not a readable folder has none."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _content(path: Path) -> bytes:
    """Read the settings file, unless it is a FIFO or a device, which might never end.

    Raises OSError, and ValueError for anything but a regular file and /dev/null.
    """
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) and not os.path.samestat(status, os.stat(os.devnull)):
            raise ValueError("is not a regular file")
        return file.read()


def _toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises OSError, and ValueError if it is not TOML."""
    from llmbatch.codec.text import decode_text

    text = decode_text(_content(path))
    import tomllib

    return tomllib.loads(text)


def _named(ctx: typer.Context, table: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """Map keys (`max-tokens` or `max_tokens`) to parameter names. Raises UsageError for bad keys and values."""
    parameters = {parameter.name: parameter for parameter in ctx.command.params}
    found = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in _OPTIONS:
            from llmbatch.cli.guesses import about_option

            similar = get_close_matches(key.replace("_", "-"), [option.key for option in OPTIONS], n=1)
            hint = f"Did you mean {similar[0]}?" if similar else about_option(f"--{key.replace('_', '-')}", ())
            raise UsageError(f"{path}: unknown setting {key!r}", hint)
        if name in found:
            raise UsageError(f"{path}: {key} is there twice, with - and with _", "Keep one of them.")
        found[name] = _as_typed(value, f"{path}: {key}", several=_OPTIONS[name].repeats)
        try:
            parameters[name].process_value(ctx, found[name])
        except typer.BadParameter as error:  # typer's message would blame the variable
            raise UsageError(
                f"{path}: {key} = {value!r}: {in_plain_words(error.message)}", "Correct the file."
            ) from None
    return found


def _as_typed(value: Any, where: str, *, several: bool) -> Any:
    """Turn a TOML value into the form it has on the command line. Raises UsageError for other types."""
    values = value if isinstance(value, list) and several else [value]
    if not all(isinstance(item, str | int | float) for item in values):
        raise UsageError(f"{where} is a value{' or a list of values' if several else ''}, as on the command line")
    typed = [item if isinstance(item, bool) else str(item) for item in values]
    return typed if several else typed[0]
