"""The event loop of both processes: uvloop where there is one."""

import asyncio

__all__ = ["has_uvloop", "new_loop"]


def has_uvloop() -> bool:
    """Tell whether the faster loop is there."""
    try:
        import uvloop  # noqa: F401  # only whether it is there
    except ImportError:
        return False
    return True


def new_loop() -> asyncio.AbstractEventLoop:
    """Make the faster loop, or else the standard one."""
    if has_uvloop():
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()
