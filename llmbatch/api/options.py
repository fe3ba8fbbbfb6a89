"""The typed options of a run, and their conversion to Settings."""

import os
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar

from llmbatch.app.redo import parse_redo
from llmbatch.app.table_names import results_path
from llmbatch.codec.json import is_unicode, unwritable
from llmbatch.core.errors import UsageError
from llmbatch.core.settings import (
    APPEND_EXCLUDES,
    InputSettings,
    ModelSettings,
    OutputSettings,
    PaceSettings,
    PatienceSettings,
    Redo,
    ResumeSettings,
    Settings,
    StopSettings,
    Tolerance,
)
from llmbatch.dialects.providers import MOST_PACKED, checked_endpoint
from llmbatch.input.source import checked_delimiter, expand

__all__ = ["API_KEY", "Options", "settings_of"]

API_KEY = "api_key"
"""The name under which a key from the option `api_key` is looked up, as if it were an environment variable."""


S = TypeVar("S", bound=NamedTuple)


class Options(TypedDict, total=False):
    """The options of a run. They mean what the flags of the same names mean, and have the same defaults.

    Durations are seconds. `api_key` is the key itself; without one it comes from the environment, as for the command.
    `schema` is the JSON schema itself, `output` is a results file, which makes the run durable and resumable.
    """

    provider: str
    model: str
    base_url: str | Sequence[str]
    api_key: str
    key_env: str
    key_file: str | os.PathLike[str]
    insecure_http: bool
    ca_file: str
    headers: Mapping[str, str]
    auth_header: str
    endpoint: str
    template: str
    system: str
    params: Mapping[str, Any]
    overrides: Mapping[str, Any]
    temperature: float
    max_tokens: int
    stream: bool
    json: bool
    schema: Any
    json_retries: int
    fail_on_finish: Collection[str]
    input_format: str
    id_field: str
    meta: Literal["all", "none"] | Sequence[str]
    meta_fields: Collection[str]
    param_fields: Collection[str]
    delimiter: str
    images: Sequence[str]
    root: str
    limit: int
    max_line: int
    shard: tuple[int, int]
    batch_size: int
    concurrency: int | Literal["auto"]
    max_concurrency: int
    pack: int | Literal["auto"]
    rpm: float
    tpm: float
    timeout: float
    connect_timeout: float
    retries: int
    wait_ready: float
    max_wait: float
    max_outage: float
    deadline: float
    grace: float
    max_failures: int | str
    max_cost: float
    max_run_cost: float
    price: tuple[float, float]
    output: str | os.PathLike[str]
    overwrite: bool
    ordered: bool
    include: Collection[Literal["request", "response", "input"]]
    redo: str
    keep_failed: bool
    retry_billed: bool
    in_doubt: Literal["retry", "hold"]
    changed: Literal["rerun", "keep"]
    dedupe: bool
    reuse: Sequence[str | os.PathLike[str]]
    append: bool
    prune: bool
    move_broken: bool
    rescue_dir: str | os.PathLike[str]
    fsync: Literal["batch", "always", "never"]


_CHOICES = {
    "in_doubt": ("retry", "hold"),
    "changed": ("rerun", "keep"),
    "fsync": ("batch", "always", "never"),
}
_LEAST = {
    "limit": 0,
    "max_line": 1,
    "batch_size": 1,
    "max_tokens": 1,
    "max_concurrency": 1,
    "rpm": 1,
    "tpm": 1,
    "retries": 0,
    "json_retries": 0,
    "timeout": 0.001,
    "connect_timeout": 0.001,
    "wait_ready": 0,
    "max_wait": 0,
    "max_outage": 0,
    "deadline": 0,
    "grace": 0,
    "max_cost": 0,
    "max_run_cost": 0,
}
_NEED_OUTPUT = ("overwrite", "dedupe", "reuse", "append", "prune", "move_broken")


def settings_of(options: Mapping[str, Any], paths: Sequence[str], *, tee: bool) -> Settings:
    """Return the settings. With `tee` results are passed on even if there is a results file. Raises UsageError."""
    values = {name: value for name, value in options.items() if value is not None}
    _check(values)
    if not isinstance(urls := values.get("base_url", ""), str):
        if not urls:
            raise UsageError("base_url is an empty list", "Name a server, or leave it out.")
        values["base_url"], *more = urls
        values["more_urls"] = tuple(more)
    path, table = results_path(values["output"]) if "output" in values else (None, None)
    concurrency = values.get("concurrency", "auto")
    most = values.get("max_concurrency", PaceSettings().concurrency)
    pack = values.get("pack", "auto")
    model, input = ModelSettings(), InputSettings()
    if tee and path is not None and values.get("ordered"):
        raise UsageError("ordered does not go with results that are passed on as they come", "Leave it or output out.")
    return Settings(
        input=_filled(
            input,
            values,
            paths=expand(paths),
            named=tuple(paths),
            format=values.get("input_format"),
            meta=_meta(values.get("meta", input.meta)),
            meta_fields=frozenset(_several(values, "meta_fields")),
            param_fields=frozenset(_several(values, "param_fields")),
            delimiter=checked_delimiter(values.get("delimiter")),
            images=tuple(_several(values, "images")),
        ),
        model=_filled(
            model,
            values,
            endpoint=checked_endpoint(values.get("endpoint")),
            params=_params(values),
            overrides=dict(values.get("overrides", {})),
            fail_on_finish=frozenset(_several(values, "fail_on_finish")),
            headers=dict(values.get("headers", {})),
            key_env=API_KEY if "api_key" in values else values.get("key_env"),
            key_file=Path(values["key_file"]) if "key_file" in values else None,
        ),
        pace=PaceSettings(
            concurrency=most if concurrency == "auto" else concurrency,
            adaptive=concurrency == "auto",
            pack=None if pack == "auto" else pack,
            rpm=values.get("rpm"),
            tpm=values.get("tpm"),
        ),
        patience=_filled(PatienceSettings(), values),
        stop=_filled(StopSettings(), values, max_failures=_tolerance(values.get("max_failures", "none"))),
        output=_filled(
            OutputSettings(),
            values,
            path=path,
            table=table,
            rescue_dir=Path(values["rescue_dir"]) if "rescue_dir" in values else None,
            tee=tee and path is not None,
            include=frozenset(_several(values, "include")),
        ),
        resume=_filled(
            ResumeSettings(),
            values,
            redo=_redo(values),
            reuse=tuple(str(name) for name in _several(values, "reuse")),
        ),
    )


def _check(values: Mapping[str, Any]) -> None:
    """Check the names and the values of options. Raises UsageError."""
    for name in values:
        if name not in Options.__annotations__:
            similar = get_close_matches(name, Options.__annotations__, n=1)
            raise UsageError(f"there is no option {name!r}", f"Did you mean {similar[0]}?" if similar else None)
    for name, choices in _CHOICES.items():
        if name in values and values[name] not in choices:
            raise UsageError(f"{name}={values[name]!r} is not one of {', '.join(choices)}")
    for name in ("model", "template", "system"):
        if not is_unicode(str(values.get(name, ""))):
            raise UsageError(f"{name} holds text that is not Unicode", "Decode it from the encoding that it has.")
    for name in ("params", "overrides", "schema", "temperature"):
        flaw = unwritable(values.get(name))
        if flaw is not None:
            raise UsageError(f"{name} holds {flaw}", "Give what JSON can carry.")
    for name, least in _LEAST.items():
        if name in values and not (isinstance(values[name], int | float) and values[name] >= least):
            raise UsageError(f"{name}={values[name]!r} is not a number of {least:g} or more")
    concurrency = values.get("concurrency", "auto")
    if concurrency != "auto" and not (isinstance(concurrency, int) and concurrency >= 1):
        raise UsageError(f"concurrency={concurrency!r} is not a number of requests", 'A number, or "auto".')
    pack = values.get("pack", "auto")
    if pack != "auto" and not (isinstance(pack, int) and 1 <= pack <= MOST_PACKED):
        raise UsageError(f"pack={pack!r} is not a number of inputs", f'A number up to {MOST_PACKED}, or "auto".')
    for part in _several(values, "include"):
        if part not in ("request", "response", "input"):
            raise UsageError(f"include has no {part!r}", "request, response and input can be included.")
    shard = values.get("shard", (1, 1))
    if not (isinstance(shard, tuple) and len(shard) == 2 and 1 <= shard[0] <= shard[1]):
        raise UsageError(f"shard={shard!r} is not (I, N)", "Examples: (1, 4), and so on to (4, 4).")
    for name in _NEED_OUTPUT:
        if values.get(name) and "output" not in values:
            raise UsageError(f"{name} needs output", "Name the results file: output=PATH.")
    for name, why in APPEND_EXCLUDES.items():
        if values.get("append") and values.get(name):
            raise UsageError(f"append and {name} do not go together", why)


def _filled(settings: S, values: Mapping[str, Any], **converted: Any) -> S:
    """Return a section of the settings with the option values of the same names; `converted` values win."""
    own = {name: values[name] for name in settings._fields if name in values}
    return settings._replace(**(own | converted))


def _redo(values: Mapping[str, Any]) -> Redo:
    names = {"keep_failed": "none", "retry_billed": "all", "redo": values.get("redo")}
    wanted = {name: value for name, value in names.items() if values.get(name)}
    if len(set(wanted.values())) > 1:
        raise UsageError(f"{' and '.join(wanted)} contradict each other", "Keep one of them.")
    return parse_redo(str(next(iter(wanted.values()), "unbilled")))


def _several(values: Mapping[str, Any], name: str) -> Collection[Any]:
    """Return the values of an option that takes several; a single value need not be in a list."""
    value = values.get(name, ())
    return [value] if isinstance(value, str | os.PathLike) else value


def _params(values: Mapping[str, Any]) -> dict[str, Any]:
    params = dict(values.get("params", {}))
    if "temperature" in values:
        params.setdefault("temperature", values["temperature"])
    return params


def _meta(meta: str | Sequence[str]) -> str | tuple[str, ...]:
    return (meta if meta in ("all", "none") else (meta,)) if isinstance(meta, str) else tuple(meta)


def _tolerance(value: int | str) -> Tolerance:
    try:
        return Tolerance.parse(str(value))
    except ValueError:
        raise UsageError(f"max_failures={value!r} is not none, N or P%", 'Examples: 10, "1%".') from None
