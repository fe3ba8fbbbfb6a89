"""The event loop of both processes: uvloop where it is installed."""

import asyncio

__all__ = ["has_uvloop", "new_loop"]


def has_uvloop() -> bool:
    """Tell whether uvloop is installed."""
    try:
        import uvloop  # noqa: F401  # only to see whether it is installed
    except ImportError:
        return False
    return True


def new_loop() -> asyncio.AbstractEventLoop:
    """Make a uvloop event loop, or else a standard one."""
    if has_uvloop():
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()
