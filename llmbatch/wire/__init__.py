"""Bytes to and from a server: lanes of one connection each, what their failures mean. The home of httpx."""
