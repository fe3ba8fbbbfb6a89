"""The model of a run as a user names it: MODEL, or PROVIDER:MODEL."""

import re
from typing import NamedTuple

__all__ = ["NamedModel"]


class NamedModel(NamedTuple):
    """A model and the provider that it is asked at; None for the one that the other settings name."""

    provider: str | None
    model: str

    def __str__(self) -> str:
        """Write it as the user does."""
        return self.model if self.provider is None else f"{self.provider}:{self.model}"

    @property
    def folder_name(self) -> str:
        """The name of its folder of parts: what no file system takes becomes a hyphen."""
        return re.sub(r"[^\w.+=-]+", "-", str(self)).strip(".-")

    @property
    def file_name(self) -> str:
        """The name of its results file."""
        return f"{self.folder_name}.jsonl"
