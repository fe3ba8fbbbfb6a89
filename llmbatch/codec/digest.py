"""Digests that name a record and a request."""

from hashlib import blake2b

__all__ = ["digest"]


def digest(*parts: bytes) -> str:
    """Hash the parts to 32 hexadecimal digits (BLAKE2b-128); where one part ends and the next begins counts."""
    if len(parts) == 1:
        return blake2b(parts[0], digest_size=16).hexdigest()
    state = blake2b(digest_size=16, person=b"parts")  # never what one part alone has
    for part in parts:
        state.update(b"%d:" % len(part))
        state.update(part)
    return state.hexdigest()
