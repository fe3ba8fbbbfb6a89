"""Bulk prompts for any LLM HTTP API.

    async for result in llmbatch.stream(records, model=...): ...
    for result in llmbatch.run(records, model=...): ...

Names are imported when they are first used, so that the command starts as fast as it can.
"""

from typing import TYPE_CHECKING, Any

from llmbatch.core.version import __version__

if TYPE_CHECKING:
    from llmbatch.api.options import Options
    from llmbatch.api.result import Failure, Progress, Result, RunSummary, Usage
    from llmbatch.api.run_result import Run
    from llmbatch.api.stream import run, stream
    from llmbatch.core.errors import (
        ActionNeeded,
        CeilingReached,
        InputError,
        LlmbatchError,
        OutputBusy,
        OutputError,
        UsageError,
    )

__all__ = [
    "ActionNeeded",
    "CeilingReached",
    "Failure",
    "InputError",
    "LlmbatchError",
    "Options",
    "OutputBusy",
    "OutputError",
    "Progress",
    "Result",
    "Run",
    "RunSummary",
    "Usage",
    "UsageError",
    "__version__",
    "run",
    "stream",
]

_HOMES = {
    "llmbatch.api.options": ("Options",),
    "llmbatch.api.result": ("Failure", "Progress", "Result", "RunSummary", "Usage"),
    "llmbatch.api.run_result": ("Run",),
    "llmbatch.api.stream": ("run", "stream"),
    "llmbatch.core.errors": (
        "ActionNeeded",
        "CeilingReached",
        "InputError",
        "LlmbatchError",
        "OutputBusy",
        "OutputError",
        "UsageError",
    ),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            found = globals()[name] = getattr(import_module(home), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
