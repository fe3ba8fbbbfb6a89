"""What a provider is, and the table of endpoints. The providers themselves are in `presets`."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

from llmbatch.core.errors import UsageError

__all__ = [
    "ENDPOINTS",
    "MOST_PACKED",
    "OWN_SERVER",
    "Endpoint",
    "Preset",
    "checked_endpoint",
    "find_endpoint",
    "has_dot_segments",
]


class Preset(NamedTuple):
    """One provider. Its key is the first variable of `key_env` that is set; `local` ones work without.

    `endpoint` is used where the user names none. `path` is the path of all its endpoints below the base URL, in which
    `{endpoint}` stands for the usual path and `{model}` for the model of the record; `paths` holds exceptions, by usual
    path. `{VARIABLE}` in base URL and paths is filled in from the environment. `auth_header` and `headers` win over
    those of the endpoint. `names` are body fields with another name here, `token_cap` is the one that caps the answer.
    `stream_usage` says that a stream may be asked for its usage; the other providers send it unasked. `model` is the
    default model, which only the mock has: real models come and go. Servers with `few_slots` queue requests beyond
    their slots, without saying so. `source` is the documentation that the row was written from. `key_command` prints a
    key that lasts for an hour or so, where there are only such keys.

    A variable is written `{NAME}`, or `{NAME|OTHER}`: the first that is set.
    """

    base_url: str
    key_env: tuple[str, ...] = ()
    local: bool = False
    endpoint: str = "chat"
    path: str = "{endpoint}"
    paths: Mapping[str, str] = MappingProxyType({})
    auth_header: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    names: Mapping[str, str] = MappingProxyType({})
    token_cap: str = "max_tokens"
    stream_usage: bool = True
    model: str | None = None
    few_slots: bool = False
    source: str = ""
    key_command: str | None = None

    def path_for(self, usual: str) -> str:
        """Return the path of an endpoint at this provider, by its usual path."""
        return self.paths.get(usual, self.path).replace("{endpoint}", usual)

    @property
    def variables(self) -> list[str]:
        """The environment variables in base URL and paths, each by the first of its names."""
        found = _VARIABLE.findall(" ".join((self.base_url, self.path, *self.paths.values())))
        return [names.partition("|")[0] for names in found]

    def filled(self, environment: Mapping[str, str]) -> "Preset":
        """Return the preset with these variables in base URL and paths, if they are set."""
        if not self.variables:
            return self

        def value(match: re.Match[str]) -> str:
            found = (environment.get(name, "").strip().rstrip("/") for name in match[1].split("|"))
            text = next(filter(None, found), match[0])
            # A variable that begins a base URL names a host, by some with its scheme and by some without.
            return f"https://{text}" if match.start() == 0 and text != match[0] and "://" not in text else text

        def fill(text: str) -> str:
            return _VARIABLE.sub(value, text)

        paths = {usual: fill(path) for usual, path in self.paths.items()}
        return self._replace(base_url=fill(self.base_url), path=fill(self.path), paths=paths)


_VARIABLE = re.compile(r"\{([A-Z_|]+)\}")

OWN_SERVER = Preset(base_url="", key_env=("OPENAI_API_KEY",), local=True)
"""A server behind `--base-url`: most support only the older name of the token cap."""


class Endpoint(NamedTuple):
    """An endpoint: its dialect, and its usual path below the base URL, in which `{model}` stands for the model.

    `auth_header` carries the key, as `Bearer` in `authorization` and bare in any other; `headers` go with all requests.
    """

    dialect: str
    path: str
    auth_header: str = "authorization"
    headers: Mapping[str, str] = MappingProxyType({})


ENDPOINTS = {
    endpoint.dialect: endpoint
    for endpoint in (
        Endpoint("chat", "/chat/completions"),
        # Later versions refuse `temperature`; --header anthropic-version:... asks for one.
        Endpoint("messages", "/messages", "x-api-key", {"anthropic-version": "2023-06-01"}),
        Endpoint("gemini", "/models/{model}:generateContent", "x-goog-api-key"),
        Endpoint("responses", "/responses"),
        Endpoint("completions", "/completions"),
        Endpoint("embeddings", "/embeddings"),
    )
}
"""Endpoints by the name that `--endpoint` takes."""

ANY = Endpoint("passthrough", "")
"""The endpoint of any other path."""

MOST_PACKED = 2048
"""The most inputs OpenAI allows in a request."""


_SEPARATORS = re.compile(r"[/\\]")


def has_dot_segments(path: str) -> bool:
    """Say whether a path has segments `.` or `..`, encoded or not: some servers and proxies follow them."""
    parts = _SEPARATORS.split(unquote(unquote(path)))
    return any(part.partition(";")[0].strip() in (".", "..") for part in parts)


def checked_endpoint(named: str | None) -> str | None:
    """Return the name of an endpoint, or a path, as the user gave it. Raises UsageError for anything else."""
    if named is None or named in ENDPOINTS:
        return named
    if named.startswith("/") and named.isascii() and named.isprintable() and not set(named) & set(" #"):
        if has_dot_segments(named.partition("?")[0]):
            raise UsageError(f"--endpoint {named!r} leads out of the base URL", "Write the path without dot segments.")
        return named
    raise UsageError(
        f"--endpoint {named!r} is not an endpoint", f"Use {', '.join(ENDPOINTS)}, or a path like /chat/completions."
    )


def find_endpoint(named: str) -> Endpoint:
    """Return the endpoint with a name; for a path of the user, the one whose usual path it ends with."""
    if named in ENDPOINTS:
        return ENDPOINTS[named]
    path = named.partition("?")[0]
    # "/chat/completions" ends like "/completions" too.
    alike = (endpoint for endpoint in ENDPOINTS.values() if path.endswith(endpoint.path.rpartition("{model}")[2]))
    return max(alike, key=lambda endpoint: len(endpoint.path), default=ANY)
