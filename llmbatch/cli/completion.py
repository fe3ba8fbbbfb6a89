"""Completes values at the press of a key: choices, pages of help, profiles, and models of which this machine knows."""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import typer

from llmbatch.core.environment import ENVIRONMENT

__all__ = ["choose", "models", "pages", "profiles", "remember_models"]

READ = 4 * 1024 * 1024
"""Bytes of a results file that are looked at for models: a key press must be answered at once."""
MOST = 1000
"""Models that are remembered of one provider."""
_NAME = re.compile(r"[!-~]{1,200}")


def choose(*choices: str) -> Callable[[str], list[str]]:
    """Return a completion from these words."""

    def complete(incomplete: str) -> list[str]:
        return _starting(choices, incomplete)

    return complete


def pages(incomplete: str) -> list[str]:
    """Complete the name of a page of help."""
    from llmbatch.ui.help_pages import first_lines

    return _starting(first_lines(), incomplete)


def profiles(incomplete: str) -> list[str]:
    """Complete the name of a profile of the settings file."""
    from llmbatch.cli.settings_file import profile_names

    return _starting(profile_names(), incomplete)


def models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a model: those in the results file that is named, then those that `providers --check` saw."""
    provider = ctx.params.get("provider") or ENVIRONMENT.get("LLMBATCH_PROVIDER") or "openai"
    output = ctx.params.get("output") or ENVIRONMENT.get("LLMBATCH_OUTPUT")
    seen = _models_of_results(str(output)) if output else []
    return _starting(dict.fromkeys([*seen, *_remembered(str(provider))]), incomplete)


def remember_models(provider: str, names: Iterable[str]) -> None:
    """Remember the models that a provider lists. A folder that cannot be written is no error."""
    from llmbatch.app.files import write_whole
    from llmbatch.core.errors import LlmbatchError

    path = _memory(provider)
    usable = [name for name in names if _NAME.fullmatch(name)][:MOST]
    if path is None or not usable:
        return
    with suppress(OSError, LlmbatchError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, ("\n".join(usable) + "\n").encode(), "the list of models")


def _remembered(provider: str) -> list[str]:
    path = _memory(provider)
    if path is None:
        return []
    try:
        return path.read_text("utf-8", "replace").split()[:MOST]
    except OSError:
        return []


def _memory(provider: str) -> Path | None:
    """Return the file that holds the models of a provider; None where there is no home for it."""
    folder = ENVIRONMENT.get("XDG_CACHE_HOME", "")
    home = ENVIRONMENT.get("HOME", "")
    if not os.path.isabs(folder):
        folder = os.path.join(home, ".cache") if os.path.isabs(home) else ""
    usable = folder and re.fullmatch("[a-z0-9-]+", provider)
    return Path(folder) / "llmbatch" / "models" / provider if usable else None


def _models_of_results(name: str) -> list[str]:
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            found = re.findall(rb'"model":"([!#-\[\]-~]{1,200})"', file.read(READ) or b"")
    except OSError:
        return []
    return [*dict.fromkeys(model.decode() for model in found)]


def _starting(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
