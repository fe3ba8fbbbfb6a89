"""Routes each record to the dialect of its endpoint."""

from collections.abc import Sequence
from typing import Any

from llmbatch.core.exchange import Request
from llmbatch.core.job import Job, Route
from llmbatch.core.ports import Dialect
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.openai_chat import Chat
from llmbatch.dialects.providers import ENDPOINTS, Preset, find_endpoint
from llmbatch.dialects.request_options import Options

__all__ = ["Router"]

PACK = 64
"""Inputs in an embeddings request. Completions have one by default, since one time-out loses all of a request."""


class Router:
    """A dialect that passes each record to the dialect of its endpoint.

    `endpoint` is a name or a path. Records without a path go there, and those that name its usual path.
    """

    def __init__(self, options: Options, preset: Preset, endpoint: str) -> None:
        self._options = options
        self._preset = preset
        kind = find_endpoint(endpoint)
        self._own_path = kind.path if endpoint in ENDPOINTS else endpoint
        path = preset.path_for(kind.path) if endpoint in ENDPOINTS else endpoint
        self._own = _dialect(kind.dialect, options, preset, path)
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

    def _at(self, path: str) -> Dialect:
        """Return the dialect of a path that a record names. Raises RecordError for an unknown path."""
        if path == self._own_path:
            return self._own
        for name, endpoint in ENDPOINTS.items():
            if path == endpoint.path:
                dialect = self._dialects.get(name)
                if dialect is None:
                    made = _dialect(name, self._options, self._preset, self._preset.path_for(path))
                    dialect = self._dialects[name] = made
                return dialect
        paths = ", ".join(endpoint.path for endpoint in ENDPOINTS.values())
        raise RecordError(f"url {path!r} is not one of {paths}; --endpoint {path} would send it all the same")


def _dialect(name: str, options: Options, preset: Preset, path: str) -> Dialect:
    """Make a dialect for this provider and path. Most runs import the modules of one dialect alone."""
    if name not in ("chat", "messages", "responses"):
        options = options._replace(tier=None)
    match name:
        case "chat":
            return Chat(
                options, path=path, token_cap=preset.token_cap, stream_usage=preset.stream_usage, names=preset.names
            )
        case "messages":
            from llmbatch.dialects.anthropic import Anthropic

            return Anthropic(options, path=path)
        case "gemini":
            from llmbatch.dialects.gemini import Gemini

            return Gemini(options, path=path)
        case "responses":
            from llmbatch.dialects.openai_responses import Responses

            return Responses(options, path=path)
        case "completions":
            from llmbatch.dialects.openai_completions import Completions

            return Completions(options, path=path, pack=options.pack or 1, stream_usage=preset.stream_usage)
        case "embeddings":
            from llmbatch.dialects.openai_embeddings import Embeddings

            return Embeddings(options, path=path, pack=options.pack or PACK)
    from llmbatch.dialects.passthrough import Passthrough

    return Passthrough(options, path=path)
