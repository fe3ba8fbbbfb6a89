"""Computes the digests that name records and requests."""

import os
from collections.abc import Callable
from hashlib import blake2b

__all__ = ["FINGERPRINT", "SCATTER", "digest", "digest_after", "fingerprint", "record_name"]

# Copying a hash object is faster than making one.
_EMPTY_16, _EMPTY_8 = blake2b(digest_size=16), blake2b(digest_size=8)

FINGERPRINT = 2**64 - 1
"""The bits of a name that are its fingerprint."""
SCATTER = int.from_bytes(os.urandom(8), "little") | 1
"""An odd number that differs in each process. A fingerprint times this number gives, by its high bits, a slot in a
table that cannot be predicted, even for fingerprints that have bits in common, as those of a shard do."""


def digest(*parts: bytes) -> str:
    """Hash the parts to 32 hexadecimal digits (BLAKE2b-128). The boundaries of the parts matter."""
    if len(parts) == 1:
        state = _EMPTY_16.copy()
        state.update(parts[0])
        return state.hexdigest()
    return _updated(_parts(), *parts).hexdigest()


def digest_after(*parts: bytes) -> Callable[[bytes], str]:
    """Return a function that hashes these parts and one more, and hashes these only once."""
    before = _updated(_parts(), *parts)

    def of(last: bytes) -> str:
        state = before.copy()
        state.update(b"%d:" % len(last))
        state.update(last)
        return state.hexdigest()

    return of


def fingerprint(id: str | int | None, record: str, occurrence: int = 0, sample: int = 0) -> int:
    """Return 64 bits for a record, by its id or else its digest; the same in every process, never 0.

    Ids of different types differ; `occurrence` distinguishes equal records, `sample` the samples of one.
    """
    return record_name(id, record, occurrence, sample) & FINGERPRINT


def record_name(id: str | int | None, record: str, occurrence: int = 0, sample: int = 0) -> int:
    """Return the fingerprint, and above it 32 bits of Python's own hash of the id, or of the digest without an id.

    That hash is keyed at random in each process, so that two ids with one fingerprint have different names, even if
    they were made to collide. Only fingerprints go to disk.
    """
    state = _EMPTY_8.copy()
    if type(id) is int:
        state.update(b"i%d\0%d" % (id, occurrence))
    else:
        kind = "r" if id is None else "s" if isinstance(id, str) else "i"
        named = f"{kind}{record if id is None else id}\0{occurrence}"
        try:
            state.update(named.encode())
        except UnicodeEncodeError:
            state.update(named.encode("utf-8", "surrogatepass"))
    if sample:  # the first sample of a record is the record
        state.update(b"\0s%d" % sample)
    number = int.from_bytes(state.digest(), "little") or 1
    return number | (hash(record if id is None else id) & 0xFFFF_FFFF) << 64


def _parts() -> blake2b:
    return blake2b(digest_size=16, person=b"parts")  # so that one part never hashes like several


def _updated(state: blake2b, *parts: bytes) -> blake2b:
    for part in parts:
        state.update(b"%d:" % len(part))
        state.update(part)
    return state
