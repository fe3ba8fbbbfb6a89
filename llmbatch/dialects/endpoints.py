"""Which dialect is spoken where: a table of endpoints, and the dialects of a run behind one."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from llmbatch.core.errors import UsageError
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Reply, Request, Route
from llmbatch.core.outcome import Completion
from llmbatch.core.ports import Dialect
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects import chat, completions, embeddings, gemini, messages, responses
from llmbatch.dialects.options import Options
from llmbatch.dialects.passthrough import Passthrough
from llmbatch.dialects.presets import Preset

__all__ = ["ENDPOINTS", "MOST_PACKED", "ByEndpoint", "Endpoint", "checked_endpoint", "endpoint_of"]


class Endpoint(NamedTuple):
    """A kind of endpoint: its usual path below the base URL, and how to make the dialect spoken there.

    `make` takes the options, the preset and the path, in which `{model}` may stand for the model. `auth_header` carries
    the key, as `Bearer` in `authorization` and bare in any other; `headers` go with every request.
    """

    path: str
    make: Callable[[Options, Preset, str], Dialect]
    auth_header: str = "authorization"
    headers: Mapping[str, str] = MappingProxyType({})


ENDPOINTS: dict[str, Endpoint] = {
    "chat": Endpoint(
        path=chat.PATH,
        make=lambda options, preset, path: chat.Chat(
            options, path=path, token_cap=preset.token_cap, stream_usage=preset.stream_usage, names=preset.names
        ),
    ),
    "messages": Endpoint(
        path=messages.PATH,
        make=lambda options, preset, path: messages.Messages(options, path=path),
        auth_header="x-api-key",
        headers={"anthropic-version": messages.VERSION},
    ),
    "gemini": Endpoint(
        path=gemini.PATH,
        make=lambda options, preset, path: gemini.Gemini(options, path=path),
        auth_header="x-goog-api-key",
    ),
    "responses": Endpoint(
        path=responses.PATH, make=lambda options, preset, path: responses.Responses(options, path=path)
    ),
    "completions": Endpoint(
        path=completions.PATH,
        make=lambda options, preset, path: completions.Completions(
            options, path=path, pack=options.pack or 1, stream_usage=preset.stream_usage
        ),
    ),
    "embeddings": Endpoint(
        path=embeddings.PATH,
        make=lambda options, preset, path: embeddings.Embeddings(options, path=path, pack=options.pack or PACK),
    ),
}
"""By the name that `--endpoint` knows them by."""

ANY = Endpoint(path="", make=lambda options, preset, path: Passthrough(options, path=path))
"""Whatever stands at a path that ends like none of those."""

PACK = 64
"""Inputs that share an embeddings request; completions share none unless asked, since one time-out loses all."""


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


class ByEndpoint:
    """The dialects of a run behind one: each record is put in that of its endpoint.

    `endpoint` is the name of one, or a path; records that name no path of their own go there, and those that name the
    usual path of its kind.
    """

    def __init__(self, options: Options, preset: Preset, endpoint: str) -> None:
        self._options = options
        self._preset = preset
        kind = endpoint_of(endpoint)
        self._own_path = kind.path if endpoint in ENDPOINTS else endpoint
        path = preset.path_of(kind.path) if endpoint in ENDPOINTS else endpoint
        self._own = kind.make(options, preset, path)
        self.name = self._own.name
        self.params = self._own.params
        self._dialects = {self.name: self._own}

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return how many of the jobs of a route, from the first on, the next request may serve."""
        return self._dialects[waiting[0].route.dialect].pack(waiting)

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body fields of one record, as if sent alone. Raises RecordError."""
        return (self._own if prompt.path is None else self._at(prompt.path)).item(prompt)

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request that serves the jobs."""
        return self._dialects[jobs[0].route.dialect].request(jobs)

    def read(self, request: Request, reply: Reply) -> tuple[Completion | Fault, ...]:
        """Read an answer: one verdict for each job of the request, in their order."""
        return self._dialects[request.jobs[0].route.dialect].read(request, reply)

    def _at(self, path: str) -> Dialect:
        """Return the dialect of a path that a record names. Raises RecordError for one where none is known."""
        if path == self._own_path:
            return self._own
        for name, endpoint in ENDPOINTS.items():
            if path == endpoint.path:
                dialect = self._dialects.get(name)
                if dialect is None:
                    made = endpoint.make(self._options, self._preset, self._preset.path_of(path))
                    dialect = self._dialects[name] = made
                return dialect
        known = ", ".join(endpoint.path for endpoint in ENDPOINTS.values())
        raise RecordError(f"url {path!r} is not one of {known}; --endpoint {path} would send it all the same")
