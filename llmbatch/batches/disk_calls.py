"""Makes calls that use the state directory, in a thread: what the disk refuses ends the run."""

from collections.abc import Callable
from typing import Any

from llmbatch.core.errors import OutputError
from llmbatch.engine.writer import RunInThread

__all__ = ["DiskCalls"]


class DiskCalls:
    """Call it with a function and its arguments."""

    def __init__(self, offload: RunInThread) -> None:
        self._offload = offload

    async def __call__(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Return what the function returns. Raises OutputError when the disk fails, and what else it raises."""
        try:
            return await self._offload(lambda: function(*args, **named))
        except OSError as error:
            raise OutputError(
                f"cannot use the state directory: {error.strerror}",
                "Make room, then run the same command again: no batch is lost.",
            ) from error
