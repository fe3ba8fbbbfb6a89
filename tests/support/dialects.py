"""The dialect of a run, without an environment."""

from llmbatch.app.input import new_dialect
from llmbatch.app.servers import find_preset
from llmbatch.core.ports import Dialect
from llmbatch.core.settings import Settings

__all__ = ["dialect_of"]


def dialect_of(settings: Settings) -> Dialect:
    """Return the dialect that a run with these settings has."""
    _, preset = find_preset(settings.model, {})
    return new_dialect(settings.model, preset, settings.pace.pack)
