"""Digests that name a record and a request."""

from collections.abc import Callable
from hashlib import blake2b

__all__ = ["digest", "digest_after"]


def digest(*parts: bytes) -> str:
    """Hash the parts to 32 hexadecimal digits (BLAKE2b-128); where one part ends and the next begins counts."""
    if len(parts) == 1:
        return blake2b(parts[0], digest_size=16).hexdigest()
    return _updated(_parts(), *parts).hexdigest()


def digest_after(*parts: bytes) -> Callable[[bytes], str]:
    """Return a function that hashes these parts and one more; they are hashed only once."""
    before = _updated(_parts(), *parts)
    return lambda last: _updated(before.copy(), last).hexdigest()


def _parts() -> blake2b:
    return blake2b(digest_size=16, person=b"parts")  # never what one part alone has


def _updated(state: blake2b, *parts: bytes) -> blake2b:
    for part in parts:
        state.update(b"%d:" % len(part))
        state.update(part)
    return state
