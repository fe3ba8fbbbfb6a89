"""Turns the values of options into Settings, for the command line and for Python."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmbatch.core.errors import UsageError
from llmbatch.core.model_name import NamedModel
from llmbatch.core.settings import APPEND_EXCLUDES, Redo, Settings
from llmbatch.dialects.presets import PRESETS
from llmbatch.input.source import expand
from llmbatch.options.table import OPTIONS
from llmbatch.results.lines import MOST_SAMPLES
from llmbatch.results.ticket_log import NAME as TICKETS

__all__ = ["check_batch_options", "to_settings"]

_NEED_FOLDER = ("part_size", "processes", "engine", "ray_address")
_NEED_BATCHES = ("leftovers", "batch_window", "batch_records", "batch_tokens", "no_first_live")
_NEED_ANY_BATCHES = ("no_wait", "live_after")
"""These say how batches of earlier runs are collected, too."""
_NEED_OUTPUT = ("overwrite", "tee", "dedupe", "reuse", "append", "prune", "move_broken")


def to_settings(values: Mapping[str, Any], inputs: Sequence[str], name: Callable[[str], str]) -> Settings:
    """Return the settings that values mean, each as its option has read it; what is missing has its default.

    `name` says how the user writes an option. Raises UsageError for options that do not go together.
    """
    _check(values, name)
    groups: dict[str, dict[str, Any]] = defaultdict(dict)
    for option in OPTIONS:
        if option.name in values and option.place is not None:
            group, field = option.place
            groups[group][field] = values[option.name]
    path, table, folder = values.get("output", (None, None, None))
    groups["output"] |= {"path": path, "table": table, "folder": folder}
    groups["input"] |= {"paths": expand(inputs), "named": tuple(inputs)}
    if "temperature" in values:
        groups["model"]["params"] = {"temperature": values["temperature"]} | values.get("param", {})
    models = [_named(model, values) for model in values.get("model", ())]
    if len(models) > 1:
        groups[""]["models"] = tuple(models)
    elif models:
        groups["model"] |= {"model": models[0].model} | ({"provider": models[0].provider} if models[0].provider else {})
    groups["resume"]["redo"] = _redo(values, name)
    settings = Settings(**groups.pop("", {}))
    settings = settings._replace(
        **{group: getattr(settings, group)._replace(**fields) for group, fields in groups.items()}
    )
    if settings.model.tier is not None:
        settings = _with_tier(settings, values)
    if settings.batches.batch_api:
        own = settings.model.provider
        for provider in dict.fromkeys([each.provider or own for each in settings.models] or [own]):
            _check_batches(settings._replace(model=settings.model._replace(provider=provider)))
    return settings


def _check(values: Mapping[str, Any], name: Callable[[str], str]) -> None:
    """Check that options go together. Raises UsageError."""
    has_output, has_folder = any(values.get("output", ())), values.get("output", (None, None, None))[2] is not None
    for option in _NEED_FOLDER:
        if values.get(option) not in (None, "local") and not has_folder:
            raise UsageError(f"{name(option)} is for a run of parts", f"Add {name('output').split()[0]} DIR/.")
    for option in _NEED_OUTPUT:
        if values.get(option) and not has_output:
            raise UsageError(f"{name(option)} needs {name('output')}", "Name the results file.")
    for option, why in APPEND_EXCLUDES.items():
        if values.get("append") and values.get(option):
            raise UsageError(f"{name('append')} and {name(option)} do not go together", why)
    if values.get("tee") and values.get("ordered"):
        raise UsageError(
            f"{name('ordered')} and {name('tee')} do not go together",
            "FILE is ordered at the end, stdout cannot be.",
        )
    if values.get("root") is not None and not values.get("image"):
        raise UsageError(
            f"{name('root')} is for the paths of {name('image')}", f"Add {name('image')}, or leave it out."
        )
    if values.get("json_retries") and not values.get("json") and values.get("schema") is None:
        raise UsageError(
            f"{name('json_retries')} needs {name('json')} or {name('schema')}", "Add one, or leave it out."
        )
    if "sample" in values and "limit" in values:
        raise UsageError(f"{name('sample')} and {name('limit')} both choose records", "Keep one of them.")
    if values.get("sample_seed") and "sample" not in values:
        raise UsageError(f"{name('sample_seed')} is for {name('sample')}", "Add it, or leave it out.")
    if values.get("repeat", 0) > MOST_SAMPLES + 1:
        raise UsageError(f"{name('repeat')} is at most {MOST_SAMPLES + 1:,}", "Name a smaller number.")
    keys = [option for option in ("key_env", "key_file", "key_command") if option in values]
    if len(keys) > 1:
        raise UsageError(f"{' and '.join(map(name, keys))} all name a key", "Keep one of them.")


def check_batch_options(values: Mapping[str, Any], written: Collection[str], name: Callable[[str], str]) -> None:
    """Check that options of batches have some to work on; `written` are those that were given for this run alone.

    Raises UsageError.
    """
    if values.get("batch_api"):
        return
    path, _, folder = values.get("output", (None, None, None))
    idle = _NEED_BATCHES if _has_batches(path, folder) else (*_NEED_BATCHES, *_NEED_ANY_BATCHES)
    for option in idle:
        if option in written and values.get(option):
            raise UsageError(
                f"{name(option)} is for batches, and without {name('batch_api')} requests go live",
                f"Add {name('batch_api')}, or leave it out.",
            )


def _has_batches(path: Path | None, folder: Path | None) -> bool:
    """Say whether earlier runs made batches for the results file, or for a part in the folder."""
    if folder is not None:
        return any(folder.glob(f"*.state/{TICKETS}"))
    return path is not None and bool(path.name) and (path.with_name(f"{path.name}.state") / TICKETS).exists()


def _with_tier(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Check a service tier; give the slow one more time. Raises UsageError."""
    from llmbatch.dialects.service_tiers import FLEX_TIMEOUT, tier_word

    model, tier = settings.model, settings.model.tier
    assert tier is not None
    tier_word(model.provider or (None if model.base_urls else "openai"), model.endpoint, tier)
    if settings.batches.batch_api:
        raise UsageError("--tier is for live requests, and --batch-api has a price of its own", "Keep one of them.")
    if tier == "flex" and "timeout" not in values:
        return settings._replace(patience=settings.patience._replace(timeout=FLEX_TIMEOUT))
    return settings


def _check_batches(settings: Settings) -> None:
    """Refuse what batches do not go with, before a key is looked for. Raises UsageError."""
    from llmbatch.dialects.batch_apis import batch_api, refuse  # most runs have no batches

    model, window = settings.model, settings.batches.batch_window
    if settings.output.path is None and settings.output.folder is None:
        raise UsageError(
            "--batch-api needs -o FILE", "Batches outlive a run: what is with the provider is noted there."
        )
    if len(model.base_urls) > 1:
        raise UsageError("--batch-api goes to one server", "Name one --base-url.")
    name = model.provider or (model.base_urls[0] if model.base_urls else "openai")
    api = batch_api(name)
    if api is None:
        raise refuse(name)
    windows = api.limits.windows
    if windows and window not in windows:
        known = ", ".join(f"{round(one / 3600)}h" for one in windows)
        raise UsageError(f"--batch-window: {name} takes {known}", "Leave it out for the usual one.")


def _named(model: str, values: Mapping[str, Any]) -> NamedModel:
    """Split PROVIDER:MODEL, unless a provider or a server is named: its models may have such names."""
    provider, colon, rest = model.partition(":")
    if "provider" in values or "base_url" in values or not colon or not rest or provider not in PRESETS:
        return NamedModel(None, model)
    return NamedModel(provider, rest)


def _redo(values: Mapping[str, Any], name: Callable[[str], str]) -> Redo:
    """Return what `redo` or one of its aliases asks for. Raises UsageError if they contradict each other."""
    aliases = {"keep_failed": Redo("none"), "retry_billed": Redo("all"), "redo": values.get("redo")}
    asked = {option: meaning for option, meaning in aliases.items() if values.get(option) and meaning is not None}
    if len(set(asked.values())) > 1:
        raise UsageError(f"{' and '.join(map(name, asked))} contradict each other", "Keep one of them.")
    return next(iter(asked.values()), Redo())
