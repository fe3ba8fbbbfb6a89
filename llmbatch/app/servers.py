"""The servers of a run: base URLs, headers and key, and the rules that send a key to its own host only."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from urllib.parse import urlsplit

from llmbatch.codec.text import decode_text
from llmbatch.core.errors import ActionNeeded, UsageError
from llmbatch.core.loopback import is_loopback
from llmbatch.core.redact import Redactor
from llmbatch.core.settings import ModelSettings
from llmbatch.core.version import __version__
from llmbatch.dialects.presets import PRESETS, PROVIDER_ALIASES
from llmbatch.dialects.providers import OWN_SERVER, Preset, find_endpoint

__all__ = ["Servers", "find_preset", "find_servers", "is_own_machine", "secret_values"]


_EXAMPLES = {
    "AWS_REGION": "us-east-1",
    "AZURE_OPENAI_ENDPOINT": "https://RESOURCE.openai.azure.com",
    "DATABRICKS_HOST": "https://WORKSPACE.cloud.databricks.com",
    "OPENAI_API_VERSION": "2024-10-21, or use -p azure, which needs none",
}

_OPENAI_BASE_URL = "OPENAI_BASE_URL"
"""The variable by which OpenAI's own clients are sent elsewhere."""

_SECRET = re.compile("auth|cookie|key|password|secret|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Servers:
    """Where requests go. `unused_key` names a variable that would help after a 401.

    `base_url` is empty for the built-in mock until its process has told where it listens. `redact` cuts out what must
    never be shown. `account` tells keys apart: a key that is renewed stays the same.
    """

    name: str
    base_url: str
    headers: dict[str, str] = field(repr=False)
    redact: Redactor = field(repr=False)
    account: tuple[str, ...] = field(repr=False)
    unused_key: str | None = None
    more_urls: tuple[str, ...] = ()
    preset: Preset = OWN_SERVER
    ca_file: str | None = None
    """Certificates to trust, instead of the usual ones."""
    carrier: str = "authorization"
    """The header that carries the key."""
    ask_key: Callable[[], str] | None = None
    """Asks for a new key once this one has expired, and blocks meanwhile."""
    note: str | None = None
    """What the user should know about where requests go."""

    def renew(self, key: str) -> None:
        """Send another key with every later request."""
        self.redact.learn([key])
        self.headers[self.carrier] = _carried(self.carrier, key)

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The base URLs of all servers that share the records."""
        return self.base_url, *self.more_urls


def find_preset(model: ModelSettings, environment: Mapping[str, str]) -> tuple[str, Preset]:
    """Return the name and the preset of `-p`; without it openai, or, with a base URL alone, a server of one's own.

    Variables of the environment are filled in where they are set. Raises UsageError that suggests the nearest name.
    """
    if model.provider is None and model.base_urls:
        return model.base_urls[0], OWN_SERVER
    name = model.provider or "openai"
    preset = PRESETS.get(name)
    if preset is None:
        near = get_close_matches(name, [*PRESETS, *PROVIDER_ALIASES], n=1)
        hint = f"Did you mean -p {PROVIDER_ALIASES.get(near[0], near[0])}? " if near else ""
        raise UsageError(
            f"unknown provider {name!r}", f"{hint}`llmbatch providers` lists all; --base-url URL is any other server."
        )
    preset = preset.filled(environment)
    elsewhere = environment.get(_OPENAI_BASE_URL, "").strip() if name == "openai" and not model.base_urls else ""
    if elsewhere and elsewhere.rstrip("/") != preset.base_url:
        # Servers on this machine mostly want no key.
        preset = preset._replace(base_url=elsewhere, local=is_own_machine(elsewhere))
    return name, preset


def find_servers(model: ModelSettings, environment: Mapping[str, str], key_timeout: float = 10.0) -> Servers:
    """Find base URL and key. A command for the key gets `key_timeout` seconds.

    Raises UsageError for an unusable URL or key, ActionNeeded when a key is needed and there is none. A preset's key
    goes to the preset's host only; with a base URL of one's own the key is `--key-env`, `--key-file`, `--key-command`
    or `LLMBATCH_API_KEY`, or none.
    """
    name, preset = find_preset(model, environment)
    missing = [variable for variable in preset.variables if not model.base_urls or variable not in preset.base_url]
    if missing:
        raise ActionNeeded(
            f"{missing[0]} is not set, which -p {name} needs", f"export {missing[0]}={_EXAMPLES.get(missing[0], '…')}"
        )
    base_url, *more_urls = (url.rstrip("/") for url in model.base_urls or (preset.base_url,))
    note = None
    if not model.base_urls and base_url != PRESETS[name].base_url and name == "openai":
        _check_url(base_url, _OPENAI_BASE_URL)
        note = f"{_OPENAI_BASE_URL} is set: requests and the key of -p openai go to {base_url}"
    for url in (base_url, *more_urls) if base_url else ():
        _check_url(url)
    ask_key = None if model.key_command is None else partial(_command_key, model.key_command, key_timeout)
    key = _named_key(model, environment) if ask_key is None else ask_key()
    unused = None
    if key is None and model.base_urls:
        key = _clean(environment.get("LLMBATCH_API_KEY"), "LLMBATCH_API_KEY")
        unused = _set_variable(preset, environment) if key is None else None
    elif key is None and name != "mock":
        key = _preset_key(name, preset, environment)
    kind = find_endpoint(model.endpoint or preset.endpoint)
    headers = {
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": f"llmbatch/{__version__}",
        **kind.headers,
        **preset.headers,
        **{header.lower(): value for header, value in model.headers.items()},
    }
    carrier = (model.auth_header or preset.auth_header or kind.auth_header).lower()
    if key is not None:
        if not model.insecure_http:
            _check_encrypted((base_url, *more_urls))
        headers[carrier] = _carried(carrier, key)
    secrets = (*([key] if key else ()), *secret_values(model.headers))
    account = secrets if model.key_command is None else (model.key_command, *secret_values(model.headers))
    return Servers(
        name=name,
        base_url=base_url,
        headers=headers,
        redact=Redactor(secrets),
        account=account,
        unused_key=unused,
        more_urls=tuple(more_urls),
        preset=preset,
        ca_file=model.ca_file or environment.get("SSL_CERT_FILE"),
        carrier=carrier,
        ask_key=ask_key,
        note=note,
    )


def _carried(carrier: str, key: str) -> str:
    return f"Bearer {key}" if carrier == "authorization" else key


def _command_key(command: str, timeout: float) -> str:
    """Return the key that a command prints. Raises UsageError, ActionNeeded."""
    from llmbatch.app.key_command import run_key_command

    key = _clean(run_key_command(command, timeout), "the output of --key-command")
    assert key is not None  # an empty line is refused before
    return key


def secret_values(headers: Mapping[str, str]) -> list[str]:
    """Return the values of the headers that are named like a secret."""
    return [value.strip() for header, value in headers.items() if _SECRET.search(header)]


def _preset_key(name: str, preset: Preset, environment: Mapping[str, str]) -> str | None:
    """Return the key in a variable of the preset. Raises ActionNeeded where there is none and one is needed."""
    variable = _set_variable(preset, environment)
    key = _clean(environment[variable], variable) if variable is not None else None
    if key is None and not preset.local:
        wanted = " or ".join(preset.key_env)
        raise ActionNeeded(
            f"no key for provider {name!r}: {wanted} is not set",
            f"--key-command '{preset.key_command}', or a token in {preset.key_env[0]}."
            if preset.key_command is not None
            else f"export {preset.key_env[0]}=…, or name a variable with --key-env, or try -p mock.",
        )
    return key


def _set_variable(preset: Preset, environment: Mapping[str, str]) -> str | None:
    """Return the first variable for the key of a preset that is set."""
    return next((variable for variable in preset.key_env if environment.get(variable)), None)


def _check_encrypted(urls: Iterable[str]) -> None:
    """Raise UsageError if a key would go to one of these addresses as plain text."""
    exposed = next((url for url in urls if url and _is_open_http(url)), None)
    if exposed is not None:
        raise UsageError(
            f"the key would go over plain http:// to {urlsplit(exposed).hostname}",
            "Use https://, or allow it with --insecure-http.",
        )


def _named_key(model: ModelSettings, environment: Mapping[str, str]) -> str | None:
    if model.key_file is not None:
        try:
            text = decode_text(model.key_file.read_bytes())
        except (OSError, ValueError) as error:
            # The position of the wrong byte would show a part of the key.
            reason = getattr(error, "strerror", None) or str(error).partition(" (")[0]
            raise UsageError(f"--key-file {model.key_file}: {reason}", "Name a readable file of UTF-8 text.") from None
        key = _clean(text.strip(), str(model.key_file))
        if key is None:
            raise ActionNeeded(f"--key-file {model.key_file} is empty", "Put the key into it.")
        return key
    if model.key_env is not None:
        key = _clean(environment.get(model.key_env), model.key_env)
        if key is None:
            raise ActionNeeded(f"--key-env {model.key_env}: the variable is not set", f"export {model.key_env}=…")
        return key
    return None


def _clean(key: str | None, source: str) -> str | None:
    """Strip a key. Raises UsageError, without showing it, for characters that no header can carry."""
    if key is None or not key.strip():
        return None
    key = key.strip(" ")
    if not key.isascii() or not key.isprintable():
        raise UsageError(
            f"the key in {source} holds a line break, control or non-ASCII character", "Set it again without."
        )
    return key


def _check_url(url: str, name: str = "--base-url") -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        fine = False
    if not fine or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(f"{name} {url!r} is not an http(s) address", "Example: --base-url http://localhost:8000/v1")
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{name} holds a user name or password", "Give a key with --key-env or --key-file.")
    if parts.query or parts.fragment:
        raise UsageError(f"{name} ends in a query or fragment", "Give the address up to the API's root, like …/v1.")


def is_own_machine(url: str) -> bool:
    """Say whether an address leads back to this machine."""
    return is_loopback(urlsplit(url).hostname or "")


def _is_open_http(url: str) -> bool:
    return urlsplit(url).scheme == "http" and not is_own_machine(url)
