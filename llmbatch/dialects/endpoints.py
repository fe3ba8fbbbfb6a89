"""Where which dialect is spoken: a table of endpoints."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from llmbatch.core.errors import UsageError

__all__ = ["ENDPOINTS", "MOST_PACKED", "Endpoint", "checked_endpoint", "endpoint_of"]


class Endpoint(NamedTuple):
    """A kind of endpoint: its dialect, and its usual path below the base URL, in which `{model}` stands for the model.

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
        # A later version takes no `temperature`; who wants one says --header anthropic-version:...
        Endpoint("messages", "/messages", "x-api-key", {"anthropic-version": "2023-06-01"}),
        Endpoint("gemini", "/models/{model}:generateContent", "x-goog-api-key"),
        Endpoint("responses", "/responses"),
        Endpoint("completions", "/completions"),
        Endpoint("embeddings", "/embeddings"),
    )
}
"""By the name that `--endpoint` knows them by."""

ANY = Endpoint("passthrough", "")
"""Whatever stands at a path that ends like none of those."""

MOST_PACKED = 2048
"""What OpenAI takes at most."""


def checked_endpoint(named: str | None) -> str | None:
    """Return what a user named, if it is an endpoint or a path. Raises UsageError."""
    if named is None or named in ENDPOINTS:
        return named
    if named.startswith("/") and named.isascii() and named.isprintable() and not set(named) & set(" #"):
        return named
    raise UsageError(
        f"--endpoint {named!r} is not spoken", f"Use {', '.join(ENDPOINTS)}, or a path like /chat/completions."
    )


def endpoint_of(named: str) -> Endpoint:
    """Return the endpoint of a name, or of a path of the user's: one whose usual path ends like it."""
    if named in ENDPOINTS:
        return ENDPOINTS[named]
    path = named.partition("?")[0]
    # "/chat/completions" ends like "/completions" too.
    alike = (endpoint for endpoint in ENDPOINTS.values() if path.endswith(endpoint.path.rpartition("{model}")[2]))
    return max(alike, key=lambda endpoint: len(endpoint.path), default=ANY)
