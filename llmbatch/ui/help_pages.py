"""The pages of `llmbatch help`: Markdown in the package, rendered by rich on a terminal."""

import os
from importlib.resources import files
from typing import TYPE_CHECKING

from llmbatch.ui.streams import stdout_sink

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["first_lines", "page", "show"]

_FIRST = ("records", "results", "resume", "pacing", "cost", "batches", "providers")
"""The topics that most people look for, in this order; the others follow by name."""


def first_lines() -> dict[str, str]:
    """Return the topics, each with the line below its title."""
    names = sorted(file.name.removesuffix(".md") for file in _folder().iterdir() if file.name.endswith(".md"))
    ordered = [name for name in _FIRST if name in names] + [name for name in names if name not in _FIRST]
    return {name: _summary(page(name)) for name in ordered}


def page(topic: str) -> str:
    """Return the Markdown of a page."""
    return (_folder() / f"{topic}.md").read_text("utf-8")


def show(markdown: str, *, plain: str | None = None) -> None:
    """Write a page to stdout: rendered where that is a terminal, else as it is, or `plain`."""
    if os.isatty(1):
        from rich.console import Console
        from rich.markdown import Markdown

        Console(highlight=False).print(Markdown(markdown))
    else:
        stdout_sink()(((plain if plain is not None else markdown).rstrip("\n") + "\n").encode())


def _folder() -> "Traversable":
    return files("llmbatch") / "help"


def _summary(text: str) -> str:
    lines = [line for line in text.splitlines()[1:] if line]
    return lines[0] if lines and not lines[0].startswith(("#", "|", "`")) else text.splitlines()[0].lstrip("# ")
