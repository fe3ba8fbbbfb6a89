"""Calls to a provider that are no attempt at a record: files that are sent and fetched, batches made and looked up."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, TypeVar

from llmbatch.core.exchange import Reply

__all__ = ["PATIENCE", "Errand", "FilePart", "Talk"]

PATIENCE = 60.0
"""Seconds without a byte after which an errand is given up."""


class FilePart(NamedTuple):
    """A body that comes from a file: these bytes, the whole file, these bytes."""

    path: str
    before: bytes = b""
    after: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One request and its answer.

    `address` is a path below the base URL, or an absolute address that a provider named. Only `headers` that are named
    here and, unless it is `signed`, those of the provider go with it. With a `sink` the body of a good answer goes to
    that file, which is on the disk then; every other body is in the reply.
    """

    method: str
    address: str
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    body: bytes | FilePart = b""
    sink: str | None = None
    signed: bool = False
    """The address itself says who asks: it may be on another host, and gets no key."""
    patience: float = PATIENCE


T = TypeVar("T")

Talk: TypeAlias = Generator[Errand, Reply, T]
"""Several errands one after the other, as a generator that yields each and is sent its reply."""
