"""Calls to a provider other than attempts: to send and fetch files, to create and look up batches."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

from llmbatch.core.exchange import Reply

__all__ = ["DISK", "PATIENCE", "Call", "Errand", "FilePart", "StrangeAddress", "Talk", "addressed"]

PATIENCE = 60.0
"""Seconds without a byte after which an errand is given up."""


DISK = "disk"
"""The code of the fault of an errand that our own disk ended."""


class FilePart(NamedTuple):
    """A body that comes from a file: these bytes, the whole file, these bytes."""

    path: str
    before: bytes = b""
    after: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One request and its answer.

    `address` is a path below the base URL, after `//` a path of its host, or an absolute address that a provider named.
    These `headers` go with it and, unless it is `signed`, those of the provider. With a `sink` a good answer's body
    goes to that file, which is on the disk then; every other body is in the reply.
    """

    method: str
    address: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | FilePart = b""
    sink: str | None = None
    signed: bool = False
    """The address itself says who asks: it may be on another host, and gets no key."""
    only: int = 0
    """Of the answer only so many bytes are wanted, and about so many are read; 0 for all."""
    patience: float = PATIENCE
    delay: float = 0.0
    """Seconds to wait before it is made."""


T = TypeVar("T")

Talk: TypeAlias = Generator[Errand, Reply, T]
"""Several errands one after the other, as a generator that yields each and is sent its reply."""


class StrangeAddress(ValueError):
    """A provider named an address on another host for something that needs the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An errand with its whole address and all of its headers."""

    errand: Errand
    url: str
    headers: Mapping[str, str] = field(repr=False)


def addressed(errand: Errand, base_url: str, headers: Mapping[str, str]) -> Call:
    """Return the call of an errand to a provider, whose `headers` hold the key.

    The key goes to the provider's own host only, and not with an address that is signed. Raises StrangeAddress.
    """
    if errand.address.startswith("//"):  # a path of the host, and not below the base
        parts = urlsplit(base_url)
        url = f"{parts.scheme}://{parts.netloc}{errand.address[1:]}"
        return Call(errand=errand, url=url, headers={**headers, **errand.headers})
    if not errand.address.startswith(("http://", "https://")):
        return Call(errand=errand, url=base_url + errand.address, headers={**headers, **errand.headers})
    if _origin(errand.address) == _origin(base_url) and not errand.signed:
        return Call(errand=errand, url=errand.address, headers={**headers, **errand.headers})
    if not errand.signed:
        raise StrangeAddress(f"the provider sends us to {urlsplit(errand.address).hostname}, which gets no key")
    return Call(errand=errand, url=errand.address, headers=dict(errand.headers))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
