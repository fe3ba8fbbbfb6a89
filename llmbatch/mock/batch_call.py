"""A call about files or batches, and the error that rejects it."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from llmbatch.codec import json
from llmbatch.mock.batch import Batch
from llmbatch.mock.error_formats import Refusal
from llmbatch.mock.provider import below_root

__all__ = ["BadCall", "Call"]

_LARGEST_BODY = 2**20


class BadCall(Exception):
    """A call that its API does not take, in the words of that API."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.refusal = Refusal(status, message, param=param, code=code)


@dataclass(slots=True)
class Call:
    """One call; its body is read from `chunks`, once."""

    method: str
    target: str
    headers: Mapping[bytes, bytes]
    chunks: AsyncIterator[bytes]
    created: Batch | None = None
    """The batch that this call made."""

    @property
    def path(self) -> str:
        """The path below the root of the API."""
        return below_root(self.target.partition("?")[0])

    @property
    def is_azure(self) -> bool:
        """Whether the path has Azure's form and the key is in Azure's header: Groq's path has the same form."""
        return self.target.startswith("/openai/") and b"api-key" in self.headers

    @property
    def query(self) -> dict[str, str]:
        """The query, the last value of each name."""
        return dict(parse_qsl(self.target.partition("?")[2]))

    @property
    def host(self) -> str:
        """The address that the client used, for links to more."""
        return "http://" + self.header(b"host")

    def header(self, name: bytes) -> str:
        """Return a header, empty if it is missing."""
        return self.headers.get(name, b"").decode("latin-1")

    def limit(self, name: str, usual: int, most: int) -> int:
        """Return the number of things on a page."""
        text = self.query.get(name, str(usual))
        if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
            raise BadCall(400, f"Invalid '{name}': an integer from 1 to {most} was expected.", param=name)
        return int(text)

    async def body(self) -> dict[str, Any]:
        """Read a body that is a JSON object; an empty one is an empty object."""
        text = b""
        async for chunk in self.chunks:
            text += chunk
            if len(text) > _LARGEST_BODY:
                raise BadCall(413, f"The request body is larger than {_LARGEST_BODY} bytes.")
        try:
            value = json.loads(text or b"{}")
        except ValueError as error:
            raise BadCall(400, f"We could not parse the JSON body of your request. ({error})") from error
        if not isinstance(value, dict):
            raise BadCall(400, "The JSON body of your request must be an object.")
        return value
