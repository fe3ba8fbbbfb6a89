"""Sends requests and receives answers over lanes of one connection each. The only package that imports httpx."""

import sys

# httpx imports its own command line, and with it rich, click and pygments, if they are installed. That would be a large
# part of our start-up. A module that is None in sys.modules counts as not installed.
if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    import httpx  # noqa: F401

    del sys.modules["httpx._main"]
