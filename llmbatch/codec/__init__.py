"""Converts bytes to values and back: JSON, digests, event streams. Pure."""
