"""The typed options of a run, and their conversion to Settings."""

import os
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, TypedDict

from llmbatch.core.errors import UsageError
from llmbatch.core.settings import Settings
from llmbatch.options.resolve import check_batch_options, to_settings
from llmbatch.options.table import OPTIONS

__all__ = ["API_KEY", "Options", "settings_of"]

API_KEY = "api_key"
"""The name under which a key from the option `api_key` is looked up, as if it were an environment variable."""


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
    key_command: str
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
    tier: Literal["flex", "priority", "standard"]
    stream: bool
    cache_system: Literal["5m", "1h"]
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
    sample: int
    sample_seed: int
    repeat: int
    max_line: int
    shard: tuple[int, int]
    batch_size: int
    concurrency: int | Literal["auto"]
    max_concurrency: int
    pack: int | Literal["auto"]
    rpm: float
    tpm: float
    share_limits: str
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
    part_size: int | str
    processes: int
    engine: Literal["local", "ray"]
    ray_address: str
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
    batch_api: bool
    no_wait: bool
    leftovers: Literal["batch", "live"]
    live_after: float
    batch_window: float
    batch_records: int
    batch_tokens: int
    no_first_live: bool
    rescue_dir: str | os.PathLike[str]
    fsync: Literal["batch", "always", "never"]


_OPTIONS = {option.argument: option for option in OPTIONS if option.argument is not None}
_ARGUMENTS = {option.name: argument for argument, option in _OPTIONS.items()}


def settings_of(options: Mapping[str, Any], paths: Sequence[str], *, tee: bool) -> Settings:
    """Return the settings. With `tee` results are passed on even if there is a results file. Raises UsageError."""
    values = {}
    for argument, value in options.items():
        if value is None or argument == API_KEY:
            continue
        if argument not in _OPTIONS:
            similar = get_close_matches(argument, Options.__annotations__, n=1)
            raise UsageError(f"there is no option {argument!r}", f"Did you mean {similar[0]}?" if similar else None)
        option = _OPTIONS[argument]
        values[option.name] = option.read(argument, value)
    check_batch_options(values, values, _ARGUMENTS.__getitem__)
    settings = to_settings(values, paths, _ARGUMENTS.__getitem__)
    if settings.models:
        raise UsageError("model names several models", "Call run once for each; the command runs several side by side.")
    if options.get(API_KEY) is not None:
        settings = settings._replace(model=settings.model._replace(key_env=API_KEY, key_file=None, key_command=None))
    if settings.output.path is None or not tee:
        return settings
    if settings.output.ordered:
        raise UsageError("ordered does not go with results that are passed on as they come", "Leave it or output out.")
    return settings._replace(output=settings.output._replace(tee=True))
