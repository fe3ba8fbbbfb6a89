"""Checks the option values of the command line and turns them into Settings."""

import json
import math
import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from llmbatch.app.redo import parse_redo
from llmbatch.app.table_names import results_path
from llmbatch.cli.settings_file import RANK, config_path, origin, values
from llmbatch.codec.json import is_unicode, unwritable
from llmbatch.codec.text import decode_text
from llmbatch.core.clock import duration
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
    ViewSettings,
)
from llmbatch.dialects.providers import MOST_PACKED, checked_endpoint
from llmbatch.input.source import checked_delimiter, expand

__all__ = ["resolve"]

_RESERVED = ("host", "content-length", "transfer-encoding", "connection")


def resolve(ctx: typer.Context) -> Settings:
    """Build the settings from a parsed command line. Raises UsageError."""
    options = values(ctx)
    _check_text(options)
    provider, base_urls = _one_server(ctx)
    key_env, key_file = _one_key(ctx)
    output = _output(ctx, options)
    return Settings(
        input=InputSettings(
            paths=expand(options["inputs"] or ()),
            named=tuple(options["inputs"] or ()),
            format=options["input_format"],
            id_field=options["id_field"],
            meta=_meta(options["meta"]),
            meta_fields=frozenset(options["meta_field"] or ()),
            param_fields=frozenset(options["param_field"] or ()),
            delimiter=checked_delimiter(options["delimiter"]),
            images=tuple(options["image"] or ()),
            root=_root(options),
            limit=_at_least("--limit", options["limit"], 0),
            max_line=_at_least("--max-line", options["max_line"], 1),
            strict=options["strict"],
            shard=_shard(options["shard"]),
            batch_size=_at_least("--batch-size", options["batch_size"], 1),
        ),
        model=ModelSettings(
            provider=provider,
            base_url=base_urls[0] if base_urls else None,
            more_urls=tuple(base_urls[1:]),
            endpoint=checked_endpoint(options["endpoint"]),
            model=options["model"],
            template=options["template"],
            system=options["system"],
            params=_params(options),
            overrides=_pairs("--override", options["override"]),
            max_tokens=_at_least("--max-tokens", options["max_tokens"], 1),
            stream=options["stream"],
            json=options["json"],
            schema=_schema(options["schema"]),
            json_retries=_json_retries(options),
            fail_on_finish=_reasons(options["fail_on_finish"]),
            headers=_headers(options["header"]),
            auth_header=_header_name(options["auth_header"]),
            key_env=key_env,
            key_file=key_file,
            insecure_http=options["insecure_http"],
            ca_file=options["ca_file"],
            price=_price(options["price"]),
        ),
        pace=_pace(options),
        patience=PatienceSettings(
            timeout=_seconds("--timeout", options["timeout"]),
            connect_timeout=_seconds("--connect-timeout", options["connect_timeout"]),
            retries=_at_least("--retries", options["retries"], 0),
            wait_ready=_seconds("--wait-ready", options["wait_ready"], zero=True),
            max_wait=_seconds("--max-wait", options["max_wait"], zero=True),
            max_outage=_seconds("--max-outage", options["max_outage"], zero=True),
        ),
        stop=StopSettings(
            fail_on=_tolerance("--fail-on", options["fail_on"]),
            max_failures=_tolerance("--max-failures", options["max_failures"]),
            max_cost=_dollars("--max-cost", options["max_cost"]),
            max_run_cost=_dollars("--max-run-cost", options["max_run_cost"]),
            deadline=_seconds("--deadline", options["deadline"]) if options["deadline"] is not None else math.inf,
            grace=_seconds("--grace", options["grace"], zero=True),
        ),
        output=output,
        resume=_resume(options),
        view=ViewSettings(
            quiet=options["quiet"],
            verbose=options["verbose"],
            debug=options["debug"],
            color=_choice("--color", options["color"], ("auto", "always", "never")),
            summary=_choice("--summary", options["summary"], ("table", "json", "none")),
            summary_file=options["summary_file"],
            metrics_file=options["metrics_file"],
        ),
        dry_run=options["dry_run"],
        read_files=_read_files(options),
    )


def _check_text(options: dict[str, Any]) -> None:
    """Check that text can be sent in a request; names of files may be any bytes. Raises UsageError."""
    for name, value in options.items():
        for text in value if isinstance(value, list) else [value]:
            is_file = name in ("inputs", "output") or (
                name in ("template", "system", "redo") and str(text).startswith("@")
            )
            if isinstance(text, str) and not is_file and not is_unicode(text):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} is not UTF-8 text: {text.encode(errors='surrogateescape')!r}",
                    "Set the terminal to UTF-8, or put the text into a file in UTF-8.",
                )


def _one_server(ctx: typer.Context) -> tuple[str | None, list[str]]:
    """Return -p and --base-url: the stronger source wins, and from the same source both count.

    Raises UsageError for an address that is named twice: it would get two shares of the records.
    """
    provider, urls = _stronger(ctx, "provider", "base_url")
    urls = list(urls or ())
    for place, url in enumerate(urls):
        if url.rstrip("/") in (other.rstrip("/") for other in urls[:place]):
            raise UsageError(f"--base-url {url} is given twice", "Name each server once.")
    return provider, urls


def _one_key(ctx: typer.Context) -> tuple[str | None, Path | None]:
    """Return --key-env and --key-file: the stronger source wins. Raises UsageError if both are equally strong."""
    key_env, key_file = _stronger(ctx, "key_env", "key_file")
    if key_env is not None and key_file is not None:
        raise UsageError("--key-env and --key-file both name a key", "Leave one of them out.")
    return key_env, key_file


def _stronger(ctx: typer.Context, first: str, second: str) -> tuple[Any, Any]:
    one, other = ctx.params[first] or None, ctx.params[second] or None
    if one is not None and other is not None:
        by_one, by_other = RANK.index(origin(ctx, first)), RANK.index(origin(ctx, second))
        if by_one != by_other:
            return (one, None) if by_one < by_other else (None, other)
    return one, other


def _output(ctx: typer.Context, options: dict[str, Any]) -> OutputSettings:
    path, table = results_path(options["output"]) if options["output"] not in (None, "-") else (None, None)
    form = _choice("--output-format", options["output_format"], ("jsonl", "openai-batch", "cookbook", "text"))
    if options["raw"] and origin(ctx, "output_format") == "default":
        form = "text"
    if options["raw"] and form != "text":
        raise UsageError(f"--raw is text, not {form}", "Leave one of them out.")
    if path is not None and form != "jsonl" and not options["tee"]:
        raise UsageError(f"-o is always llmbatch JSONL, not {form}", "Leave -o out to shape stdout, or add --tee.")
    if options["tee"] and options["ordered"]:
        raise UsageError("--ordered and --tee do not go together", "FILE is ordered at the end, stdout cannot be.")
    for option in ("overwrite", "tee", "dedupe", "reuse", "append", "prune", "move_broken"):
        if options[option] and path is None:
            raise UsageError(f"--{option.replace('_', '-')} needs -o FILE", "Name the results file.")
    for option, why in APPEND_EXCLUDES.items():
        if options["append"] and options[option]:
            raise UsageError(f"--append and --{option} do not go together", why)
    error_file: Path | None = options["error_file"]
    if error_file is not None and form not in ("openai-batch", "cookbook"):
        raise UsageError("--error-file needs --output-format openai-batch or cookbook", "Add it, or leave it out.")
    include = [part for value in options["include"] or () for part in value.split(",")]
    for part in include:
        _choice("--include", part, ("request", "response", "input"))
    rescue: Path | None = options["rescue_dir"]
    if rescue is not None and not os.access(rescue, os.W_OK):
        raise UsageError(f"--rescue-dir {rescue} cannot be written to", "Name a directory that can.")
    return OutputSettings(
        path=path,
        table=table,
        overwrite=options["overwrite"],
        ordered=options["ordered"],
        tee=options["tee"],
        format=form,
        raw=options["raw"],
        include=frozenset(include),
        error_file=error_file,
        rescue_dir=rescue,
    )


def _resume(options: dict[str, Any]) -> ResumeSettings:
    changed = options["changed"]
    return ResumeSettings(
        redo=_redo(options),
        in_doubt=_choice("--in-doubt", options["in_doubt"], ("retry", "hold")),
        changed=_choice("--changed", changed, ("rerun", "keep")) if changed is not None else None,
        dedupe=options["dedupe"],
        reuse=tuple(options["reuse"] or ()),
        append=options["append"],
        prune=options["prune"],
        move_broken=options["move_broken"],
        fsync=_choice("--fsync", options["fsync"], ("batch", "always", "never")),
    )


def _redo(options: dict[str, Any]) -> Redo:
    """Read `--redo` or one of its aliases. Raises UsageError if they contradict each other."""
    names = {"--keep-failed": "none" if options["keep_failed"] else None}
    names |= {"--retry-billed": "all" if options["retry_billed"] else None, "--redo": options["redo"]}
    wanted = {option: value for option, value in names.items() if value is not None}
    if len(set(wanted.values())) > 1:
        raise UsageError(f"{' and '.join(wanted)} contradict each other", "Keep one of them.")
    return parse_redo(next(iter(wanted.values()), "unbilled"))


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, slash, second = text.partition("/")
    if slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise UsageError(f"--shard {text!r} is not I/N", "Examples: --shard 1/4, and so on to --shard 4/4.")


def _meta(text: str) -> str | tuple[str, ...]:
    return text if text in ("all", "none") else tuple(text.split(","))


def _params(options: dict[str, Any]) -> dict[str, Any]:
    params = _pairs("--param", options["param"])
    if options["temperature"] is not None:
        if not math.isfinite(options["temperature"]):
            raise UsageError(f"--temperature {options['temperature']} is not a number", "Example: --temperature 0.2")
        params.setdefault("temperature", options["temperature"])
    return params


def _root(options: dict[str, Any]) -> str | None:
    if options["root"] is not None and not options["image"]:
        raise UsageError("--root is for the paths of --image", "Add --image FIELD, or leave it out.")
    root: str | None = options["root"]
    return root


def _schema(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        schema = json.loads(decode_text(path.read_bytes()))
        flaw = unwritable(schema)
    except (OSError, ValueError, RecursionError) as error:
        flaw = getattr(error, "strerror", None) or str(error)
    if flaw is not None:
        raise UsageError(f"--schema {path}: {flaw}", "Name a file in UTF-8 that holds one JSON schema.")
    return schema


def _json_retries(options: dict[str, Any]) -> int:
    retries: int = _at_least("--json-retries", options["json_retries"], 0)
    if retries and not options["json"] and options["schema"] is None:
        raise UsageError("--json-retries needs --json or --schema", "Add one, or leave it out.")
    return retries


def _reasons(text: str | None) -> frozenset[str]:
    """Read reasons. Words of providers are allowed; a word that is similar to one of ours is a typing error."""
    from llmbatch.dialects.finish_reasons import REASONS

    all_reasons = (*REASONS, "refusal")
    reasons = frozenset(text.split(",")) if text is not None else frozenset()
    for reason in reasons - set(all_reasons):
        similar = get_close_matches(reason, all_reasons, n=1, cutoff=0.75)
        if similar or not reason:
            raise UsageError(
                f"--fail-on-finish {reason!r} is no reason to end",
                f"Did you mean {similar[0]}?"
                if similar
                else f"There are: {', '.join(all_reasons)}, and providers' own words.",
            )
    return reasons


def _pairs(option: str, values: Sequence[str] | None) -> dict[str, Any]:
    pairs = {}
    for value in values or ():
        name, equals, text = value.partition("=")
        if not name or not equals:
            raise UsageError(f"{option} {value!r} is not K=V", f"Example: {option} top_p=0.9")
        pairs[name] = _json_or_text(f"{option} {name}", text)
    return pairs


def _json_or_text(option: str, text: str) -> Any:
    """Parse text as JSON, or return it unchanged. Raises UsageError for a value that cannot be written as JSON."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError) as error:  # JSON with thousands of digits or levels
        raise UsageError(f"{option}: {error}", _AS_TEXT) from None
    flaw = unwritable(value)
    if flaw is not None:
        raise UsageError(f"{option} holds {flaw}", _AS_TEXT)
    return value


_AS_TEXT = "A value is JSON if it parses; text that looks like JSON goes into double quotes: '\"…\"'."


def _headers(values: Sequence[str] | None) -> dict[str, str]:
    headers = {}
    for value in values or ():
        name, colon, text = value.partition(":")
        name, text = name.strip(), text.strip()
        if not colon or not name or not value.isascii() or not value.isprintable() or " " in name:
            raise UsageError("--header is not NAME:VALUE", "Example: --header 'X-Title: my run'")
        if name.lower() in _RESERVED:
            raise UsageError(f"--header {name} is not yours to set", "Leave it out.")
        if name.lower() in ("authorization", "api-key", "x-api-key", "x-goog-api-key"):
            raise UsageError(
                f"--header {name} would show the key to everybody who lists processes",
                "Put the key into a variable and name it with --key-env.",
            )
        headers[name] = text
    return headers


def _header_name(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise UsageError(f"--auth-header {name!r} is not a header name", "Example: --auth-header api-key")
    if name is not None and name.lower() in _RESERVED:
        raise UsageError(f"--auth-header {name} is not yours to set", "Example: --auth-header api-key")
    return name


def _pace(options: dict[str, Any]) -> PaceSettings:
    auto = options["concurrency"] == "auto"
    most = _at_least("--max-concurrency", options["max_concurrency"], 1)
    return PaceSettings(
        concurrency=most if auto else _concurrency(options["concurrency"]),
        adaptive=auto,
        pack=None if options["pack"] == "auto" else _pack(options["pack"]),
        rpm=_rate("--rpm", options["rpm"]),
        tpm=_rate("--tpm", options["tpm"]),
    )


def _rate(option: str, value: float | None) -> float | None:
    if value is not None and not 1 <= value < math.inf:
        raise UsageError(f"{option} {value:g} is not a rate", f"Example: {option} 600")
    return value


def _dollars(option: str, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"{option} {value:g} is not an amount of US dollars", f"Example: {option} 5")
    return value


def _price(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        input, output = (float(part) for part in text.split(","))
    except ValueError:
        input = output = math.nan
    if not (0 <= input < math.inf and 0 <= output < math.inf):
        raise UsageError(
            f"--price {text!r} is not IN,OUT", "US dollars per million tokens in and out: --price 0.15,0.60"
        )
    return input, output


def _concurrency(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(f"-c {text!r} is not a number of requests", "Use -c auto, or -c N with N of 1 or more.")
    return number


def _pack(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_PACKED:
        raise UsageError(f"--pack {text!r} is not a number of inputs", f"Use auto, or a number up to {MOST_PACKED}.")
    return int(text)


def _at_least(option: str, value: Any, least: int) -> Any:
    if value is not None and value < least:
        raise UsageError(f"{option} {value} is below {least}", None)
    return value


def _read_files(options: dict[str, Any]) -> tuple[tuple[str, Path], ...]:
    redo: str | None = options["redo"]
    files: dict[str, Path | None] = {
        "the settings file": config_path(),
        "--schema": options["schema"],
        "--redo": Path(redo[1:]) if redo is not None and redo.startswith("@") else None,
    }
    return tuple((words, path) for words, path in files.items() if path is not None)


def _seconds(option: str, text: str, *, zero: bool = False) -> float:
    seconds = 0.0 if zero and text.strip() in ("0", "0s") else duration(text)
    if seconds is None:
        raise UsageError(f"{option} {text!r} is not a duration", "Examples: 90, 90s, 10m, 2h.")
    return seconds


def _tolerance(option: str, text: str) -> Tolerance:
    try:
        return Tolerance.parse(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not none, N or P%", f"Examples: {option} 10, {option} 1%.") from None


def _choice(option: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        similar = get_close_matches(value, choices, n=1)
        raise UsageError(
            f"{option} {value!r} is not one of {', '.join(choices)}",
            f"Did you mean {similar[0]}?" if similar else None,
        )
    return value
