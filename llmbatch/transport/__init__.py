"""Bytes to and from a server: lanes of one connection each, and what their failures mean. The home of httpx."""

import sys

# httpx imports its own command line, and with it rich, click and pygments, unless they are missing: then it does
# without. A third of our start-up would go there; None is how Python is told that a module is not to be had.
if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    import httpx  # noqa: F401

    del sys.modules["httpx._main"]
