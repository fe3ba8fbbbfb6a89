"""Merges settings into request bodies, and finds the route of a request."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

from llmbatch.core.job import Route
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.providers import has_dot_segments

__all__ = ["Options", "Routes", "complete", "renamed"]


class Options(NamedTuple):
    """The flags about the body. `defaults` fill in what record and body lack; `overrides` win over both.

    `stream` asks for a stream, which is folded into the same answer; it is not part of the item or its key.
    """

    model: str | None = None
    max_tokens: int | None = None
    defaults: Mapping[str, Any] = MappingProxyType({})
    overrides: Mapping[str, Any] = MappingProxyType({})
    pack: int | None = None
    """Inputs in one request, None for as many as is usual at an endpoint."""
    stream: bool = False
    tier: str | None = None
    """The service tier, in the provider's word; only the endpoints that have tiers are given one."""
    cache_system: str | None = None
    """How long the system prompt stays in a cache that takes a mark; no part of the item or its key either."""

    def renamed(self, names: Mapping[str, str]) -> "Options":
        """Return the options with the fields of the body under the names of another API."""
        return self._replace(defaults=renamed(self.defaults, names), overrides=renamed(self.overrides, names))


def renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields under the names of another API."""
    return {names.get(name, name): value for name, value in fields.items()}


class Routes(dict[str, Route]):
    """The route of each model at one path; `{model}` in the path stands for the model.

    A model is one percent-encoded segment of the path, so that a record cannot choose another path. One that begins
    with the name of one of the `collections` is a resource of that collection, which is a segment of its own. Raises
    RecordError for a model that a server which decodes too early would take for the way to a parent folder.
    """

    def __init__(self, path: str, dialect: str, collections: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._path, self._dialect, self._collections = path, dialect, collections

    def __missing__(self, model: str) -> Route:
        path = self._path
        if "{model}" in path:
            name = model
            if self._collections and f"/{self._collections[0]}/{{model}}" in path:
                collection, _, resource = model.partition("/")
                if resource and collection in self._collections:
                    path, name = path.replace(f"/{self._collections[0]}/", f"/{collection}/"), resource
            path = path.replace("{model}", _segment(name))
        route = self[model] = Route(path, model, self._dialect)
        return route


def _segment(name: str) -> str:
    """Return a name as one segment of a path. Raises RecordError for dot segments, encoded or not."""
    if has_dot_segments(name):
        raise RecordError(
            f"the model {name[:80]!r} cannot stand in the path of a request", hint="Name the model as the API does."
        )
    return quote(name, safe=":@")


def complete(
    body: dict[str, Any], prompt: Prompt, options: Options, token_caps: tuple[str, ...], *, needs_model: bool = True
) -> dict[str, Any]:
    """Merge record parameters, flags and overrides into a body; return it.

    A parameter that the record sets to null is removed, and flags do not bring it back. `token_caps` are the names
    under which the endpoint may hold a token cap; the first is the one `--max-tokens` is written as. Raises RecordError
    when no model is named anywhere but must be.
    """
    params = prompt.params
    if params:
        _change(body, params)
    if not body.get("model"):
        body["model"] = prompt.model or options.model
    for name in options.defaults:
        if name not in body and name not in params:
            body[name] = options.defaults[name]
    if options.max_tokens is not None and not any(name in body or name in params for name in token_caps):
        body[token_caps[0]] = options.max_tokens
    if options.tier is not None and "service_tier" not in body and "service_tier" not in params:
        body["service_tier"] = options.tier
    if options.overrides:
        _change(body, options.overrides)
    model = body.get("model")
    if model is None and not needs_model:
        body.pop("model", None)
    elif not isinstance(model, str) or not model:
        raise RecordError("no model named", hint="Name one with -m MODEL.")
    return body


def _change(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Set fields of a body, and remove those that are null."""
    for name, value in fields.items():
        if value is None:
            body.pop(name, None)
        else:
            body[name] = value
