"""Addresses of inputs in object stores and on web servers: which names are one, and how they are shown. Pure."""

import os
import re
from typing import NamedTuple

from llmbatch.core.errors import InputError

__all__ = ["Address", "credentials", "is_remote", "parsed", "shown", "suffix_of"]

_SCHEME = re.compile(r"(s3|gs|az|https?)://", re.IGNORECASE)


class Address(NamedTuple):
    """A scheme, a bucket (on the web a host) and a key (a path with its query)."""

    scheme: str
    bucket: str
    key: str

    @property
    def is_web(self) -> bool:
        """Say whether it is on a web server, which lists nothing."""
        return self.scheme.startswith("http")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


def is_remote(name: str) -> bool:
    """Say whether the name of an input is an address."""
    return _SCHEME.match(name) is not None


def parsed(name: str) -> Address:
    """Take an address apart; a key is taken as it is written. Raises InputError for one without a bucket."""
    scheme, _, rest = name.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise InputError(f"{shown(name)} names no bucket", "Examples: s3://bucket/in/*.jsonl, https://host/in.jsonl")
    return Address(scheme.lower(), bucket, key)


def shown(name: str) -> str:
    """Return the name of an input as it may be shown and stored.

    The query, user and password of a web address are left out: they may be a signature, and give access to others.
    """
    if name[:4].lower() != "http" or not is_remote(name):
        return name
    scheme, _, rest = name.partition("://")
    place = re.split("[?#]", rest, maxsplit=1)[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def credentials(name: str) -> list[str]:
    """Return what `shown` leaves out of an address: user and password, query."""
    if shown(name) == name:
        return []
    place, _, query = name.partition("://")[2].partition("?")
    return [part for part in (place.partition("/")[0].rpartition("@")[0], query) if part]


def suffix_of(name: str) -> str:
    """Return the suffix of a file or an address in lower case, with its dot; empty without one."""
    return os.path.splitext(shown(name))[1].lower()
